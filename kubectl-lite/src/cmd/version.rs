//! `version` of client and server. Never fails because the server is away, but says so.

use serde_json::json;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::render::{self, yaml};
use crate::{Context, print};

const EXAMPLES: &str = "Examples:
  kubectl-lite version
  kubectl-lite version --client -o yaml";

/// Print the client and server version
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only the client's
    #[arg(long)]
    pub client: bool,
    /// json or yaml
    #[arg(long, short)]
    pub output: Option<String>,
}

/// Runs `version`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let client = concat!("v", env!("CARGO_PKG_VERSION"));
    let server = match arguments.client {
        true => Ok(None),
        false => context.server.call(Call::get("/version")).await.map(Some),
    };
    let known = server.as_ref().ok().cloned().flatten();
    match arguments.output.as_deref() {
        None => {
            print(&format!("Client Version: {client}\n"))?;
            if let Some(version) = known {
                let text = version["gitVersion"].as_str().unwrap_or_default();
                print(&format!("Server Version: {text}\n"))?;
            }
        }
        Some(format @ ("json" | "yaml")) => {
            let mut value = json!({"clientVersion": {"gitVersion": client}});
            if let Some(version) = known {
                value["serverVersion"] = version;
            }
            print(&if format == "json" { render::json(&value) } else { yaml::yaml(&value) })?;
        }
        Some(_) => return Err(Error::message("--output must be 'yaml' or 'json'")),
    }
    server.map(|_| ())
}
