//! `delete`, and waiting until what was deleted is gone. Never deletes more than it names.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::create::DryRun;
use crate::client::Call;
use crate::error::{Error, Result};
use crate::select::{Selection, Target};
use crate::{Context, say, time};

const EXAMPLES: &str = "Examples:
  kubectl-lite delete pod web-1
  kubectl-lite delete -f web.yaml
  kubectl-lite delete pods -l app=web
  kubectl-lite delete pod web-1 --grace-period=0 --force";

/// How often an object that is going is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Cascade {
    /// They go after it.
    #[default]
    #[value(alias = "true")]
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    #[value(alias = "false")]
    Orphan,
}

/// Delete resources by file names, stdin, resources and names, or by label selector
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE[,TYPE] NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Seconds an object gets to end; -1 leaves it to the object
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// The same as --grace-period=1
    #[arg(long)]
    pub now: bool,
    /// Remove from the API at once (with --grace-period=0)
    #[arg(long)]
    pub force: bool,
    /// Return when the objects are gone
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait; 0 waits for as long as it takes
    #[arg(long, default_value = "0s", value_parser = time::duration)]
    pub timeout: Duration,
    /// What happens to owned objects
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "background", require_equals = true)]
    pub cascade: Cascade,
    /// Objects that are missing are no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Print only what would be done: none, client or server
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
    /// Print names only: name
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<String>,
}

impl Arguments {
    /// Seconds to ask for; `None` leaves it to the object.
    fn grace_seconds(&self) -> Result<Option<i64>> {
        match self.grace_period {
            _ if self.now && self.grace_period >= 0 => {
                Err(Error::message("--now and --grace-period cannot be specified together"))
            }
            ..0 if self.now => Ok(Some(1)),
            ..0 if self.force => Ok(Some(0)),
            ..0 => Ok(None),
            // As kubectl: zero only with --force, for it leaves the process behind.
            0 if !self.force => Ok(Some(1)),
            1.. if self.force => {
                let text = "--force and --grace-period greater than 0 cannot be specified together";
                Err(Error::message(text))
            }
            seconds => Ok(Some(seconds)),
        }
    }
}

/// Runs `delete`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let grace_seconds = arguments.grace_seconds()?;
    if arguments.force && grace_seconds == Some(0) {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been \
             terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let ignore = arguments.ignore_not_found
        || arguments.selection.all
        || arguments.selection.selector.is_some();
    let (targets, mut errors) = arguments.selection.find(context, &arguments.resources).await?;
    if targets.is_empty() && errors.is_empty() {
        return say("No resources found");
    }
    let mut going = Vec::new();
    for target in targets {
        match one(&arguments, &target, grace_seconds, context).await {
            Ok(uid) => going.push((target, uid)),
            Err(error) if error.is_not_found() && ignore => {}
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => errors.push(match target_source(&arguments) {
                Some(source) => error.doing(format!("error when deleting {source:?}")),
                None => error,
            }),
        }
    }
    let forced = arguments.force && grace_seconds == Some(0);
    if arguments.wait && !forced && arguments.dry_run == DryRun::None {
        let until = (!arguments.timeout.is_zero()).then(|| Instant::now() + arguments.timeout);
        for (target, uid) in going {
            if let Err(error) = gone(&target, &uid, until, context).await {
                errors.push(error);
            }
        }
    }
    Error::collect(errors)
}

fn target_source(arguments: &Arguments) -> Option<String> {
    let file = arguments.selection.filename.first()?;
    Some(file.display().to_string())
}

async fn one(
    arguments: &Arguments,
    target: &Target,
    grace: Option<i64>,
    context: &Context,
) -> Result<Value> {
    let mut options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1",
        "propagationPolicy": format!("{:?}", arguments.cascade),
    });
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if arguments.dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    let path = target.path();
    let uid = if arguments.dry_run == DryRun::Client {
        Value::Null
    } else {
        let answer = context.server.call(Call::with_json(Method::DELETE, &path, &options)).await?;
        // The answer is the object as it was, or a Status about it.
        match &answer["details"]["uid"] {
            Value::Null => answer["metadata"]["uid"].clone(),
            uid => uid.clone(),
        }
    };
    let name = target.name.as_deref().unwrap_or_default();
    if arguments.output.as_deref() == Some("name") {
        say(target.shown())?;
        return Ok(uid);
    }
    let forced = if arguments.force && grace == Some(0) { "force " } else { "" };
    let kind = target.kind.qualified_singular();
    say(format!("{kind} {name:?} {forced}deleted{}", arguments.dry_run.suffix()))?;
    Ok(uid)
}

/// Waits until the object, or its name for another one, is gone.
async fn gone(target: &Target, uid: &Value, until: Option<Instant>, context: &Context) -> Result {
    let path = target.path();
    loop {
        match context.server.call(Call::get(&path)).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
            Ok(object) if !uid.is_null() && object["metadata"]["uid"] != *uid => return Ok(()),
            Ok(_) => {}
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::message(format!(
                "timed out waiting for the condition on {}",
                target.shown()
            )));
        }
        tokio::time::sleep(GLANCE).await;
    }
}
