//! All of Coracle in one binary. Never holds logic of a component.

fn main() -> std::process::ExitCode {
    coracle::main()
}
