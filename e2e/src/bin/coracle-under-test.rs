//! The `coracle` binary, built with the tests: so they never meet a stale one.
//!
//! Never differs from `coracle`'s own `main`.

fn main() -> std::process::ExitCode {
    coracle::main()
}
