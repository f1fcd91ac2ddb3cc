//! The controller manager as a program of its own.

fn main() -> std::process::ExitCode {
    client::program::main(controller_manager::run)
}
