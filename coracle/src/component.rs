//! The components by name, each run by its own crate. Never holds a component's logic.

use std::ffi::CString;

use anyhow::{Result, bail};
use clap::Parser;
use client::program::run_with;

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

/// The component that a program's name stands for. A link called `kubectl` is the stock
/// client's name; ours goes by `kubectl-lite`.
pub fn by_program_name(name: &str) -> Option<&'static str> {
    match name {
        "kubectl-lite" => Some("kubectl"),
        _ => COMPONENTS.into_iter().find(|component| *component == name),
    }
}

/// Runs a component with `args`, the first of which is its name. Returns the exit status.
pub fn run(name: &'static str, args: Vec<String>) -> Result<u8> {
    if let Ok(short) = CString::new(name) {
        // The process is called what it is; only its first 15 bytes are kept.
        let _ = nix::sys::prctl::set_name(&short);
    }
    match name {
        "apiserver" => run_with(args, apiserver::run)?,
        "endpoints-controller" => run_with(args, endpoints_controller::run)?,
        "controller-manager" => run_with(args, controller_manager::run)?,
        "cluster-dns" => run_with(args, cluster_dns::run)?,
        "proxy-agent" => run_with(args, proxy_agent::run)?,
        "node-agent" => run_with(args, node_agent::run)?,
        "kubectl" => kubectl(&args)?,
        _ => bail!("{name} is no component"),
    }
    Ok(0)
}

/// The client: one thread, and its own exit statuses.
fn kubectl(args: &[String]) -> Result<()> {
    let options = kubectl_lite::Options::parse_from(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(kubectl_lite::run(options));
    // A read of standard input that is still waiting must not keep the process.
    std::process::exit(code)
}
