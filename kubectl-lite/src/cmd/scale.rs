//! `scale`: the number of replicas, through the `scale` subresource where there
//! is one. Never touches anything else of an object.

use serde_json::json;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::patch::MERGE_PATCH;
use crate::select::{Selection, Target};
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite scale deployment web --replicas=5
  kubectl-lite scale --current-replicas=2 --replicas=3 deployment/web";

/// Set a new size for a deployment or replica set
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// How many there shall be
    #[arg(long)]
    pub replicas: u32,
    /// Only if there are so many now
    #[arg(long)]
    pub current_replicas: Option<u64>,
}

/// Runs `scale`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let (targets, errors) = arguments.selection.find(context, &arguments.resources).await?;
    Error::for_each(targets, errors, async |target| one(&arguments, target, context).await).await
}

async fn one(arguments: &Arguments, target: &Target, context: &Context) -> Result {
    let mut path = target.path();
    if target.kind.subresources.iter().any(|it| it == "scale") {
        path.push_str("/scale");
    }
    if let Some(expected) = arguments.current_replicas {
        let now = context.server.call(Call::get(&path)).await?["spec"]["replicas"].as_u64();
        if now != Some(expected) {
            let now = now.unwrap_or(0);
            return Err(Error::message(format!("Expected replicas to be {expected}, was {now}")));
        }
    }
    let patch = json!({"spec": {"replicas": arguments.replicas}});
    context.server.call(Call::patch(&path, MERGE_PATCH, &patch)).await?;
    say(format!("{} scaled", target.shown()))
}
