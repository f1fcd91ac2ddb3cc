//! The API server as a program of its own.

fn main() -> std::process::ExitCode {
    client::program::main(apiserver::run)
}
