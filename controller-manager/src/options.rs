//! The controller manager's command line.

use std::path::PathBuf;

use anyhow::Context;
use client::{ApiServer, LeaderElection, Program};

/// Runs the controllers that are not about Services' endpoints.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the API server is.
    #[command(flatten)]
    pub api_server: ApiServer,
    /// Silence after which a node counts as lost.
    #[arg(long, value_name = "SECONDS", default_value_t = 40)]
    pub node_monitor_grace_period_seconds: u64,
    /// How long pods without a toleration of their own stay bound to a node that is
    /// lost or not ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_unreachable_toleration_seconds: u64,
    /// Certificates by which pods trust the API server; without it those of the kubeconfig.
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// How one of several instances is chosen to work.
    #[command(flatten)]
    pub election: LeaderElection,
}

impl Options {
    /// The certificates by which pods trust the API server, as PEM, if any are known.
    ///
    /// # Errors
    /// The file or the kubeconfig cannot be read.
    pub async fn root_ca(&self) -> anyhow::Result<Option<String>> {
        match &self.root_ca_file {
            None => self.api_server.certificate_authority().await,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                text.map(Some).with_context(|| format!("--root-ca-file {}", path.display()))
            }
        }
    }
}

impl Program for Options {
    const NAME: &'static str = "controller-manager";
}
