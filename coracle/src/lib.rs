//! All of Coracle in one binary, and the lab without root. The components are crates of their own.

pub mod cluster;
pub mod cmd;
pub mod component;
pub mod containers;
pub mod demo_web;
pub mod lab;

use std::process::ExitCode;

/// The whole program, for its arguments.
pub fn main() -> ExitCode {
    // A pod's shim and its containers are this program too; before any thread.
    node_agent::main_if_shim();
    match cmd::main(std::env::args().collect()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
