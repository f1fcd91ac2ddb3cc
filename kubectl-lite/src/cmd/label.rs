//! `label`: sets and removes labels. Never touches anything else of an object.

use serde_json::{Value, json};

use crate::client::Call;
use crate::error::{Error, Result};
use crate::patch::MERGE_PATCH;
use crate::select::{Selection, Target};
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite label pod web-1 tier=front
  kubectl-lite label pods --all tier=back --overwrite
  kubectl-lite label node worker-1 disk-";

/// Update the labels on a resource
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    changes: Changes,
}

/// What to change, and of which objects.
#[derive(Clone, Debug, clap::Args)]
pub struct Changes {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE or KEY- to remove
    #[arg(required = true)]
    pub arguments: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Replace values that are there
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs `label`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    change(arguments.changes, "labels", "labeled", context).await
}

/// Changes one map of the metadata.
pub async fn change(arguments: Changes, field: &str, done: &str, context: &Context) -> Result {
    let is_pair = |it: &&String| it.contains('=') || it.ends_with('-');
    let (pairs, resources): (Vec<_>, Vec<_>) = arguments.arguments.iter().partition(is_pair);
    let resources: Vec<String> = resources.into_iter().cloned().collect();
    if pairs.is_empty() {
        let what = field.trim_end_matches('s');
        return Err(Error::message(format!("at least one {what} update is required")));
    }
    let mut wanted = serde_json::Map::new();
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, value)) => wanted.insert(key.to_owned(), value.into()),
            None => wanted.insert(pair.trim_end_matches('-').to_owned(), Value::Null),
        };
    }
    let (targets, errors) = arguments.selection.find(context, &resources).await?;
    let act = async |target: &Target| {
        let path = target.path();
        let object = context.server.call(Call::get(&path)).await?;
        let present = &object["metadata"][field];
        for (key, value) in &wanted {
            let (now, value) = (present[key].as_str(), value.as_str());
            if let (Some(now), Some(value), false) = (now, value, arguments.overwrite)
                && now != value
            {
                return Err(Error::message(format!(
                    "'{key}' already has a value ({now}), and --overwrite is false"
                )));
            }
            if value.is_none() && now.is_none() {
                let what = field.trim_end_matches('s');
                say(format!("{what} {key:?} not found."))?;
            }
        }
        if wanted.iter().all(|(key, value)| present[key] == *value) {
            return say(format!("{} not {done}", target.shown()));
        }
        let patch = json!({"metadata": {field: wanted}});
        context.server.call(Call::patch(&path, MERGE_PATCH, &patch)).await?;
        let only_removed = field == "labels" && wanted.values().all(Value::is_null);
        say(format!("{} {}", target.shown(), if only_removed { "unlabeled" } else { done }))
    };
    Error::for_each(targets, errors, act).await
}
