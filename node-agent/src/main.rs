//! The node agent as a program of its own.

fn main() -> std::process::ExitCode {
    // A pod's shim is this program too; before any thread.
    node_agent::main_if_shim();
    client::program::main(node_agent::run)
}
