//! `wait`: until a condition or a field is as asked. Never changes anything.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::render::go_text;
use crate::render::jsonpath::Template;
use crate::select::{Selection, Target};
use crate::{Context, say, time};

const EXAMPLES: &str = "Examples:
  kubectl-lite wait --for=condition=Ready pod/web-1
  kubectl-lite wait --for=jsonpath='{.status.phase}'=Running pods -l app=web
  kubectl-lite wait --for=delete pod/web-1 --timeout=60s";

/// How often an object is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Wait for a condition on one or many resources
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// condition=NAME[=VALUE], jsonpath={PATH}[=VALUE], delete or create
    #[arg(long = "for", value_name = "CONDITION")]
    pub condition: String,
    /// How long to wait
    #[arg(long, default_value = "30s", value_parser = time::duration)]
    pub timeout: Duration,
}

enum Condition {
    Deleted,
    Created,
    Status(String, String),
    Field(Template, Option<String>),
}

impl Condition {
    fn parse(text: &str) -> Result<Self> {
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Self::Status(name.to_lowercase(), value.to_lowercase()));
        }
        if let Some(path) = text.strip_prefix("jsonpath=") {
            let path = path.trim_matches('\'');
            let end = if path.starts_with('{') {
                path.rfind("}=").map(|it| it + 1)
            } else {
                path.find('=')
            };
            let (path, value) = match end {
                Some(end) => {
                    (&path[..end], Some(path[end + 1..].trim_matches(['\'', '"']).to_owned()))
                }
                None => (path, None),
            };
            let template = Template::parse_relaxed(path).map_err(Error::message)?;
            return Ok(Self::Field(template, value));
        }
        match text.to_lowercase().as_str() {
            "delete" => Ok(Self::Deleted),
            "create" => Ok(Self::Created),
            _ => Err(Error::message(format!("unrecognized condition: {text:?}"))),
        }
    }

    fn is_met(&self, object: Option<&Value>) -> Result<bool> {
        let Some(object) = object else { return Ok(matches!(self, Self::Deleted)) };
        Ok(match self {
            Self::Deleted => false,
            Self::Created => true,
            Self::Status(name, value) => {
                let mut conditions =
                    object["status"]["conditions"].as_array().into_iter().flatten();
                let lower = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
                conditions.any(|it| lower(&it["type"]) == *name && lower(&it["status"]) == *value)
            }
            Self::Field(path, value) => {
                match (&path.select(object).map_err(Error::message)?[..], value) {
                    ([], _) => false,
                    (_, None) => true,
                    ([Value::Array(_) | Value::Object(_)], Some(_)) => {
                        let text =
                            "jsonpath leads to a nested object or list which is not supported";
                        return Err(Error::message(text));
                    }
                    ([found], Some(value)) => go_text(found) == *value,
                    _ => {
                        let text = "given jsonpath expression matches more than one value";
                        return Err(Error::message(text));
                    }
                }
            }
        })
    }
}

/// Runs `wait`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let condition = Condition::parse(&arguments.condition)?;
    let (targets, errors) = arguments.selection.find(context, &arguments.resources).await?;
    if targets.is_empty() && errors.is_empty() && !matches!(condition, Condition::Deleted) {
        return Err(Error::message("no matching resources found"));
    }
    let until = Instant::now() + arguments.timeout;
    let act = async |target: &Target| one(target, &condition, until, context).await;
    Error::for_each(targets, errors, act).await
}

async fn one(target: &Target, condition: &Condition, until: Instant, context: &Context) -> Result {
    let path = target.path();
    loop {
        let object = match context.server.call(Call::get(&path)).await {
            Ok(object) => Some(object),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        if condition.is_met(object.as_ref())? {
            let met =
                if matches!(condition, Condition::Deleted) { "deleted" } else { "condition met" };
            return say(format!("{} {met}", target.shown()));
        }
        if object.is_none() && !matches!(condition, Condition::Created) {
            // Nothing to wait for: the same error as `get`.
            context.server.call(Call::get(&path)).await?;
        }
        if Instant::now() >= until {
            let shown =
                format!("{}/{}", target.kind.resource, target.name.as_deref().unwrap_or_default());
            return Err(Error::message(format!("timed out waiting for the condition on {shown}")));
        }
        tokio::time::sleep(GLANCE).await;
    }
}
