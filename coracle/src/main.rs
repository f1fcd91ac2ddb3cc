//! All of Coracle in one binary. Never holds logic of a component.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A pod's shim and its containers are this program too; before any thread.
    node_agent::main_if_shim();
    match coracle::cmd::main(std::env::args().collect()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
