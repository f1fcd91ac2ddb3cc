//! A controller program in a container: its kubeconfig, then the component in this process's
//! place. Never elects anybody: the component does.

use anyhow::{Result, bail};
use clap::Args;

use super::shared::Credentials;
use super::{API_NAME, ClusterArgs, flag};
use crate::lab::namespaces::exec_self;
use crate::lab::pki::Identity;
use crate::lab::topology::API_PORT;

/// Options of `member controller-manager` and `member endpoints-controller`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// More options for the component.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Where members reach the API.
pub fn api_url() -> String {
    format!("https://{API_NAME}:{API_PORT}")
}

/// Becomes the component called `name`.
pub fn run(name: &str, options: &Options) -> Result<u8> {
    let credentials = Credentials::open(&options.cluster)?;
    let identity = Identity::client("controllers", "system:kube-controller-manager", &[]);
    let kubeconfig = credentials.kubeconfig(&api_url(), &identity)?;
    let kubeconfig = flag("--kubeconfig", kubeconfig.display());
    let mut args = vec!["coracle", name, &kubeconfig];
    args.extend(options.more.iter().map(String::as_str));
    bail!("start {name}: {}", exec_self(&args))
}
