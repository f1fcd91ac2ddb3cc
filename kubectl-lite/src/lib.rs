//! A kubectl-like client that knows no kind by name, but for `describe` and `create deployment`: what
//! there is comes from discovery, what a list shows from the server's `Table`.
//!
//! `cmd/` has a file for each verb; `select` and `manifest` say which objects,
//! `client` asks, `render` prints. Never keeps anything on disk.

pub mod client;
pub mod cmd;
pub mod discovery;
pub mod error;
pub mod labels;
pub mod lines;
pub mod manifest;
pub mod output;
pub mod patch;
pub mod pods;
pub mod render;
pub mod select;
pub mod time;

use std::io::Write as _;
use std::path::PathBuf;

use tokio::sync::OnceCell;

use crate::client::Server;
use crate::discovery::Discovery;
use crate::error::Result;

/// kubectl-lite controls a Kubernetes cluster.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "kubectl-lite", version, disable_version_flag = true)]
pub struct Options {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: cmd::Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Path of the kubeconfig; else $KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the request
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Address of the API server, instead of the kubeconfig's
    #[arg(long, short, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Give a request up after so long without an answer, such as 5s; 0 waits for ever
    #[arg(long, global = true, value_name = "DURATION", default_value = "0", value_parser = time::duration)]
    pub request_timeout: std::time::Duration,
}

/// What a command works with.
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// The API server.
    pub server: Server,
    discovery: OnceCell<Discovery>,
}

impl Context {
    /// The server's kinds, asked for once.
    pub async fn discovery(&self) -> Result<&Discovery> {
        let fetched = self.discovery.get_or_try_init(|| Discovery::fetch(&self.server));
        fetched.await
    }

    /// Namespace of requests that name none.
    pub fn namespace(&self) -> &str {
        &self.server.namespace
    }
}

/// Runs one command; prints what it has to say, and returns the exit code.
pub async fn run(options: Options) -> i32 {
    let done = match options.command {
        cmd::Command::Config(arguments) => cmd::config::show(arguments, &options.global),
        command => match Server::open(&options.global).await {
            Ok(server) => {
                let context =
                    Context { global: options.global, server, discovery: OnceCell::new() };
                // The future of all commands together is large.
                Box::pin(command.run(&context)).await
            }
            Err(error) => Err(error),
        },
    };
    done.map_or_else(|error| error.report(), |()| 0)
}

/// Writes to standard output.
pub fn print(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard output.
pub fn say(text: impl AsRef<str>) -> Result {
    print(&format!("{}\n", text.as_ref()))
}
