//! `rollout status` and `rollout restart` of Deployments and DaemonSets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Call, typed};
use crate::error::{Error, Result};
use crate::patch::MERGE_PATCH;
use crate::select::{Selection, Target};
use crate::{Context, say, time};

const EXAMPLES: &str = "Examples:
  kubectl-lite rollout status deployment/web --timeout=60s
  kubectl-lite rollout restart deployment/web";

/// How often the object is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Manage the rollout of a resource
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Wait until a rollout is done
    Status {
        /// TYPE NAME or TYPE/NAME
        resources: Vec<String>,
        /// How long to wait; 0 waits for as long as it takes
        #[arg(long, default_value = "0s", value_parser = time::duration)]
        timeout: Duration,
        /// Wait until it is done
        #[arg(long, short, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
        watch: bool,
    },
    /// Replace all pods
    Restart {
        /// TYPE NAME or TYPE/NAME
        resources: Vec<String>,
    },
}

/// Runs `rollout`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let selection = Selection::default();
    match arguments.verb {
        Verb::Status { resources, timeout, watch } => {
            let (targets, _) = selection.find(context, &resources).await?;
            let until = (!timeout.is_zero()).then(|| Instant::now() + timeout);
            for target in targets {
                status(&target, until, watch, context).await?;
            }
        }
        Verb::Restart { resources } => {
            let (targets, _) = selection.find(context, &resources).await?;
            for target in targets {
                restart(&target, context).await?;
            }
        }
    }
    Ok(())
}

async fn restart(target: &Target, context: &Context) -> Result {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let path = target.path();
    context.server.call(Call::patch(&path, MERGE_PATCH, &patch)).await?;
    say(format!("{} restarted", target.shown()))
}

async fn status(target: &Target, until: Option<Instant>, watch: bool, context: &Context) -> Result {
    let path = target.path();
    let mut said = String::new();
    loop {
        let object = context.server.call(Call::get(&path)).await?;
        let (text, done) = progress(&object)?;
        if text != said {
            say(&text)?;
            said = text;
        }
        if done || !watch {
            return Ok(());
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::message("timed out waiting for the condition"));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// How far a rollout is, and whether that is the end.
fn progress(object: &Value) -> Result<(String, bool)> {
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => deployment(&typed(object)?),
        "DaemonSet" => daemon_set(&typed(object)?),
        kind => Err(Error::message(format!("no status viewer has been implemented for {kind}"))),
    }
}

fn is_unseen(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    metadata.generation.unwrap_or(0) > observed.unwrap_or(0)
}

fn daemon_set(object: &DaemonSet) -> Result<(String, bool)> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let strategy = object.spec.as_ref().and_then(|it| it.update_strategy.as_ref());
    if strategy.and_then(|it| it.type_.as_deref()) != Some("RollingUpdate") {
        return Err(Error::message(
            "rollout status is only available for RollingUpdate strategy type",
        ));
    }
    let status = object.status.clone().unwrap_or_default();
    if is_unseen(&object.metadata, status.observed_generation) {
        let text = "Waiting for daemon set spec update to be observed...";
        return Ok((text.to_owned(), false));
    }
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    let what = if updated < wanted {
        format!("{updated} out of {wanted} new pods have been updated")
    } else if available < wanted {
        format!("{available} of {wanted} updated pods are available")
    } else {
        return Ok((format!("daemon set {name:?} successfully rolled out"), true));
    };
    Ok((format!("Waiting for daemon set {name:?} rollout to finish: {what}..."), false))
}

fn deployment(object: &Deployment) -> Result<(String, bool)> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    if is_unseen(&object.metadata, status.observed_generation) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let late = |it: &DeploymentCondition| {
        it.type_ == "Progressing" && it.reason.as_deref() == Some("ProgressDeadlineExceeded")
    };
    if status.conditions.iter().flatten().any(late) {
        return Err(Error::message(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let wanted = object.spec.as_ref().and_then(|it| it.replicas).unwrap_or(1);
    let number = |value: Option<i32>| value.unwrap_or(0);
    let (updated, total) = (number(status.updated_replicas), number(status.replicas));
    let available = number(status.available_replicas);
    let what = if updated < wanted {
        format!("{updated} out of {wanted} new replicas have been updated")
    } else if total > updated {
        format!("{} old replicas are pending termination", total - updated)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else {
        return Ok((format!("deployment {name:?} successfully rolled out"), true));
    };
    Ok((format!("Waiting for deployment {name:?} rollout to finish: {what}..."), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(object: Value, expected: &str) {
        let said = match progress(&object) {
            Ok((text, done)) => format!("{text}|{done}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn a_daemon_set_is_done_when_every_node_has_an_available_new_pod() {
        let set = |strategy: &str, seen: i32, updated: i32, available: i32| {
            json!({
                "kind": "DaemonSet", "metadata": {"name": "agent", "generation": 2},
                "spec": {"updateStrategy": {"type": strategy}},
                "status": {
                    "observedGeneration": seen, "desiredNumberScheduled": 3,
                    "updatedNumberScheduled": updated, "numberAvailable": available,
                },
            })
        };
        check(
            set("RollingUpdate", 1, 3, 3),
            "Waiting for daemon set spec update to be observed...|false",
        );
        check(
            set("RollingUpdate", 2, 1, 3),
            "Waiting for daemon set \"agent\" rollout to finish: 1 out of 3 new pods have been updated...|false",
        );
        check(
            set("RollingUpdate", 2, 3, 2),
            "Waiting for daemon set \"agent\" rollout to finish: 2 of 3 updated pods are available...|false",
        );
        check(set("RollingUpdate", 2, 3, 3), "daemon set \"agent\" successfully rolled out|true");
        check(
            set("OnDelete", 2, 3, 3),
            "error: rollout status is only available for RollingUpdate strategy type",
        );
    }
}
