//! `scale`: the number of replicas, through the `scale` subresource where there
//! is one. Never touches anything else of an object.

use http::Method;
use serde_json::json;

use crate::client::Call;
use crate::error::{Error, Result};
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
    let (targets, mut errors) = arguments.selection.find(context, &arguments.resources).await?;
    for target in targets {
        match one(&arguments, &target, context).await {
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => errors.push(error),
            Ok(()) => {}
        }
    }
    Error::collect(errors)
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
    let call = Call {
        method: Some(Method::PATCH),
        path: &path,
        body: Some(("application/merge-patch+json", patch.to_string().into_bytes())),
        ..Call::default()
    };
    context.server.call(call).await?;
    say(format!("{} scaled", target.shown()))
}
