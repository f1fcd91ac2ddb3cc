//! The `coracle` binary, built with the tests: so they never meet a stale one.
//!
//! Never differs from `coracle`'s own `main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match coracle::cmd::main(std::env::args().collect()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
