//! `rollout status` and `rollout restart` of Deployments. Never rolls back.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::select::{Selection, Target};
use crate::{Context, say, time};

/// Shown by `rollout --help`.
pub const EXAMPLES: &str = "Examples:
  kubectl-lite rollout status deployment/web --timeout=60s
  kubectl-lite rollout restart deployment/web";

/// How often the object is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Arguments of `rollout`.
#[derive(Clone, Debug, clap::Args)]
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
        Verb::Status {
            resources,
            timeout,
            watch,
        } => {
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
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let path = target.path();
    let call = Call {
        method: Some(Method::PATCH),
        path: &path,
        body: Some((
            "application/merge-patch+json",
            patch.to_string().into_bytes(),
        )),
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

/// How far a Deployment is, and whether that is the end.
fn progress(object: &Value) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let status = &object["status"];
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    if object["kind"] != "Deployment" {
        let kind = object["kind"].as_str().unwrap_or_default();
        return Err(Error::message(format!(
            "no status viewer has been implemented for {kind}"
        )));
    }
    if number(&object["metadata"]["generation"]) > number(&status["observedGeneration"]) {
        return Ok((
            "Waiting for deployment spec update to be observed...".to_owned(),
            false,
        ));
    }
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions
        .any(|it| it["type"] == "Progressing" && it["reason"] == "ProgressDeadlineExceeded")
    {
        return Err(Error::message(format!(
            "deployment {name:?} exceeded its progress deadline"
        )));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, total) = (
        number(&status["updatedReplicas"]),
        number(&status["replicas"]),
    );
    let available = number(&status["availableReplicas"]);
    let waiting = |what: String| {
        Ok((
            format!("Waiting for deployment {name:?} rollout to finish: {what}..."),
            false,
        ))
    };
    if updated < wanted {
        return waiting(format!(
            "{updated} out of {wanted} new replicas have been updated"
        ));
    }
    if total > updated {
        return waiting(format!(
            "{} old replicas are pending termination",
            total - updated
        ));
    }
    if available < updated {
        return waiting(format!(
            "{available} of {updated} updated replicas are available"
        ));
    }
    Ok((format!("deployment {name:?} successfully rolled out"), true))
}
