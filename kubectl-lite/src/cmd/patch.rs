//! `patch`: sends the given patch as it is.

use super::create::DryRun;
use crate::client::Call;
use crate::error::{Error, Result};
use crate::output::Format;
use crate::patch::{MERGE_PATCH, STRATEGIC_PATCH};
use crate::select::{Selection, Target};
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite patch service web -p '{\"spec\":{\"publishNotReadyAddresses\":true}}'
  kubectl-lite patch deployment web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]'
  kubectl-lite patch deployment web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":2}}'";

/// How a patch is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Type {
    /// Lists merge by their items' keys.
    #[default]
    Strategic,
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

impl Type {
    fn content_type(self) -> &'static str {
        match self {
            Self::Strategic => STRATEGIC_PATCH,
            Self::Merge => MERGE_PATCH,
            Self::Json => "application/json-patch+json",
        }
    }
}

/// Update fields of a resource
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME
    pub resources: Vec<String>,
    /// File with the objects, instead of names
    #[arg(long, short = 'f', value_name = "FILE")]
    pub filename: Vec<std::path::PathBuf>,
    /// The patch, JSON or YAML
    #[arg(long, short)]
    pub patch: Option<String>,
    /// File with the patch
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    pub patch_file: Option<std::path::PathBuf>,
    /// How the patch is meant
    #[arg(long = "type", value_enum, default_value_t)]
    pub kind: Type,
    /// Patch this subresource: status, scale
    #[arg(long)]
    pub subresource: Option<String>,
    /// Print only what would be done: none, client or server
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<String>,
}

/// Runs `patch`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let text = match (&arguments.patch, &arguments.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Error::message(format!("cannot read the patch {:?}: {error}", path.display()))
        })?,
        (None, None) => {
            return Err(Error::message(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
    };
    let patch: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| {
        Error::message(format!("unable to parse {text:?}: {}", error.without_snippet()))
    })?;
    let selection = Selection { filename: arguments.filename.clone(), ..Selection::default() };
    let (targets, errors) = selection.find(context, &arguments.resources).await?;
    let act = async |target: &Target| one(&arguments, target, &patch, context).await;
    Error::for_each(targets, errors, act).await
}

async fn one(
    arguments: &Arguments,
    target: &Target,
    patch: &serde_json::Value,
    context: &Context,
) -> Result {
    let path = target.path();
    let before = context.server.call(Call::get(&path)).await?;
    let path = match &arguments.subresource {
        Some(subresource) => format!("{path}/{subresource}"),
        None => path,
    };
    let after = if arguments.dry_run == DryRun::Client {
        before.clone()
    } else {
        let call = Call::patch(&path, arguments.kind.content_type(), patch)
            .parameter("fieldManager", "kubectl-patch");
        context.server.call(arguments.dry_run.ask(call)).await?
    };
    if let Some(output) = &arguments.output {
        return Format::parse(Some(output))?.print(after, context).await;
    }
    let version = |it: &serde_json::Value| it["metadata"]["resourceVersion"].clone();
    let same = version(&before) == version(&after);
    let note = if same && arguments.dry_run == DryRun::None { " (no change)" } else { "" };
    say(format!("{} patched{}{note}", target.shown(), arguments.dry_run.suffix()))
}
