//! `rollout status` and `rollout restart` of Deployments and DaemonSets. Never rolls back.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::Call;
use crate::error::{Error, Result};
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
    let call = Call {
        method: Some(Method::PATCH),
        path: &path,
        body: Some(("application/merge-patch+json", patch.to_string().into_bytes())),
        ..Call::default()
    };
    context.server.call(call).await?;
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
        "Deployment" => deployment(object),
        "DaemonSet" => daemon_set(object),
        kind => Err(Error::message(format!("no status viewer has been implemented for {kind}"))),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn is_unseen(object: &Value) -> bool {
    number(&object["metadata"]["generation"]) > number(&object["status"]["observedGeneration"])
}

fn daemon_set(object: &Value) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if object["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
        return Err(Error::message(
            "rollout status is only available for RollingUpdate strategy type",
        ));
    }
    if is_unseen(object) {
        let text = "Waiting for daemon set spec update to be observed...";
        return Ok((text.to_owned(), false));
    }
    let status = &object["status"];
    let wanted = number(&status["desiredNumberScheduled"]);
    let updated = number(&status["updatedNumberScheduled"]);
    let available = number(&status["numberAvailable"]);
    let what = if updated < wanted {
        format!("{updated} out of {wanted} new pods have been updated")
    } else if available < wanted {
        format!("{available} of {wanted} updated pods are available")
    } else {
        return Ok((format!("daemon set {name:?} successfully rolled out"), true));
    };
    let text = format!("Waiting for daemon set {name:?} rollout to finish: {what}...");
    Ok((text, false))
}

fn deployment(object: &Value) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let status = &object["status"];
    if is_unseen(object) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions
        .any(|it| it["type"] == "Progressing" && it["reason"] == "ProgressDeadlineExceeded")
    {
        return Err(Error::message(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, total) = (number(&status["updatedReplicas"]), number(&status["replicas"]));
    let available = number(&status["availableReplicas"]);
    let waiting = |what: String| {
        Ok((format!("Waiting for deployment {name:?} rollout to finish: {what}..."), false))
    };
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if total > updated {
        return waiting(format!("{} old replicas are pending termination", total - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available"));
    }
    Ok((format!("deployment {name:?} successfully rolled out"), true))
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
