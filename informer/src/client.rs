//! The client a component talks to the API server with.
//!
//! Never throttles: the API server's own limits are the limits.

use std::path::Path;

use anyhow::Context;
use futures::future::BoxFuture;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// A client from a kubeconfig file, or from the environment (KUBECONFIG, then
/// in-cluster) without one.
///
/// # Errors
/// The file cannot be read, or names credentials that cannot be loaded.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    // A second install is refused; the first one stays, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| {
                format!(
                    "cannot read the kubeconfig {}: give another with --kubeconfig",
                    path.display()
                )
            })?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| {
                    format!(
                        "the kubeconfig {} does not lead to an API server",
                        path.display()
                    )
                })?
        }
        None => Config::infer()
            .await
            .context("no kubeconfig found: give one with --kubeconfig")?,
    };
    Client::try_from(config).context("cannot make an API client from the kubeconfig")
}

/// Resolves on SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM; only Ctrl-C stops this process in order");
            // Without a handler SIGINT ends the process by itself.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Runs tasks that never end by themselves, each on its own, until `stop` resolves.
///
/// # Errors
/// A task ended: that is a bug, and the process is better restarted.
pub async fn run_until(
    tasks: Vec<BoxFuture<'static, ()>>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut set = tokio::task::JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    tokio::select! {
        () = stop => Ok(()),
        Some(ended) = set.join_next() => {
            ended.context("a controller's task panicked")?;
            anyhow::bail!("a controller's task ended by itself")
        }
    }
}
