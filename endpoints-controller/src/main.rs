//! The endpoints controller as a program of its own.

fn main() -> std::process::ExitCode {
    client::program::main(endpoints_controller::run)
}
