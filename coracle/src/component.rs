//! The components by name, each run by its own crate. Never holds a component's logic.

use anyhow::{Result, bail};

/// Names of the components, as commands and as names this program may be called by.
pub const COMPONENTS: [&str; 7] = [
    "apiserver",
    "endpoints-controller",
    "controller-manager",
    "proxy-agent",
    "cluster-dns",
    "node-agent",
    "kubectl",
];

/// The component that a program's name stands for.
pub fn by_program_name(name: &str) -> Option<&'static str> {
    match name {
        "kubectl-lite" => Some("kubectl"),
        _ => COMPONENTS.into_iter().find(|component| *component == name),
    }
}

/// Runs a component with `args`, the first of which is its name. Returns the exit status.
pub fn run(name: &'static str, args: Vec<String>) -> Result<u8> {
    bail!(
        "{name} is not part of this build yet ({} arguments)",
        args.len()
    )
}
