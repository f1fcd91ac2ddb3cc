//! All of Coracle in one binary.

fn main() -> std::process::ExitCode {
    coracle::main()
}
