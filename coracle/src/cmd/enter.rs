//! `coracle enter`: moves into a node's network, takes its host name, and becomes a
//! component. All before any thread starts.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cluster::exec::exec_self;
use crate::lab::namespaces::{enter_network, own_hostname};

/// Options of `enter`.
#[derive(Args)]
pub struct Options {
    /// File that keeps the network namespace alive.
    #[arg(long)]
    netns: PathBuf,
    /// Host name to take.
    #[arg(long)]
    hostname: String,
    /// Component and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Enters, then runs the component.
pub fn run(options: Options) -> Result<u8> {
    enter_network(&options.netns)
        .with_context(|| format!("enter the network namespace {}", options.netns.display()))?;
    own_hostname(&options.hostname).context("take the node's host name")?;
    // Executed anew, so that the list of processes shows the component and its options.
    let mut args = vec!["coracle"];
    args.extend(options.command.iter().map(String::as_str));
    bail!("start {}: {}", options.command.join(" "), exec_self(&args))
}
