//! The proxy agent as a program of its own.

fn main() -> std::process::ExitCode {
    client::program::main(proxy_agent::run)
}
