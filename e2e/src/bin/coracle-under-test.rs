//! The `coracle` binary, built with the tests: so they never meet a stale one.

fn main() -> std::process::ExitCode {
    coracle::main()
}
