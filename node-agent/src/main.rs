//! The node agent as a program of its own.
//!
//! Never decides anything: it parses the command line and waits for the signal to stop.

fn main() {
    node_agent::main_if_shim();
    println!("node-agent");
}
