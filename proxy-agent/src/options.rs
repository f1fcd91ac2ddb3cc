//! The command line beside the flags that stand for fields of the configuration.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use client::Program;

use crate::config::Flags;
use crate::modes::MODES;

/// The node proxy.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is configured.
    #[command(flatten)]
    pub flags: Flags,

    /// The API server's address, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,

    /// Remove all that the agent has ever made here in any mode, say what, and end; the
    /// same as the command `cleanup`
    #[arg(long)]
    pub cleanup: bool,

    /// Print what would be brought into an empty kernel, touch nothing, and end
    #[arg(long, conflicts_with = "cleanup")]
    pub dry_run: bool,

    /// How --dry-run prints it; by default as the mode is looked at in a kernel
    #[arg(short, long, value_name = "NOTATION", requires = "dry_run", value_parser = notations())]
    pub output: Option<String>,

    /// Objects for --dry-run, YAML or JSON, in place of those of the API; - for
    /// standard input
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub from: Option<PathBuf>,

    /// More to say: 4 and above is debug, as RUST_LOG=debug
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,

    /// Something else than to run
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What the agent does instead of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Action {
    /// Remove all that the agent has ever made here in any mode, say what, and end
    Cleanup,
}

/// The notation that every mode has: one line for each destination.
pub const TABLE: &str = "table";

/// The notations by which a plan can be asked for.
fn notations() -> PossibleValuesParser {
    let of_modes = MODES.iter().filter_map(|mode| mode.notation);
    let table = (TABLE, "One line for each destination, the same for every mode");
    let all = of_modes.chain([table]);
    PossibleValuesParser::new(all.map(|(name, help)| PossibleValue::new(name).help(help)))
}

impl Program for Options {
    const NAME: &'static str = "proxy-agent";

    fn log_level(&self) -> &'static str {
        if self.verbosity < 4 { "info" } else { "debug" }
    }
}

impl Options {
    /// Whether this is a call to clean up.
    pub fn is_cleanup(&self) -> bool {
        self.cleanup || self.action == Some(Action::Cleanup)
    }
}
