//! `apply`: creates what is missing, patches what differs. Never deletes an object.

use std::path::PathBuf;

use http::Method;
use serde_json::Value;

use super::create::{DryRun, Validate};
use crate::client::Call;
use crate::error::{Error, Result};
use crate::manifest::{self, Manifest};
use crate::output::Format;
use crate::patch::{self, Style};
use crate::select::{self, Target};
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite apply -f web.yaml
  kubectl-lite apply -f manifests/ -R
  cat web.json | kubectl-lite apply -f -";

/// How often a patch is made anew when someone else was faster.
const MAX_ATTEMPTS: usize = 5;

/// Apply a configuration to a resource by file name or stdin
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Files, folders or - with the objects
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',', required = true)]
    pub filename: Vec<PathBuf>,
    /// Folders below the given ones too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Print only what would be done: none, client or server
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
    /// What the server does with unknown fields
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    pub validate: Validate,
    /// Let the server merge
    #[arg(long)]
    pub server_side: bool,
    /// Take fields over from other managers (with --server-side)
    #[arg(long)]
    pub force_conflicts: bool,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<String>,
}

/// Runs `apply`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let (manifests, errors) = manifest::read(&arguments.filename, arguments.recursive);
    let act = async |manifest: &Manifest| one(&arguments, manifest, context).await;
    Error::for_each(manifests, errors, act).await
}

async fn one(arguments: &Arguments, manifest: &Manifest, context: &Context) -> Result {
    let target = select::of_manifest(context.discovery().await?, manifest, context)?;
    if target.name.is_none() {
        let place = &manifest.source;
        let text = format!("from {place}: cannot use generate name with apply");
        return Err(Error::message(text));
    }
    let mut wanted = manifest.object.clone();
    if target.kind.namespaced {
        wanted["metadata"]["namespace"] = target.namespace.clone().into();
    }
    if arguments.server_side {
        let applied = server_side(arguments, &target, &wanted, context).await;
        let applied =
            applied.map_err(|error| error.doing(format!("when applying {:?}", manifest.source)))?;
        return report(arguments, &target, &applied, "serverside-applied", context).await;
    }
    let doing = |verb: &str| format!("error when {verb} {:?}", manifest.source);
    let live = match context.server.call(Call::get(&target.path())).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => {
            let created = create(arguments, &target, &wanted, context).await;
            let created = created.map_err(|error| error.doing(doing("creating")))?;
            return report(arguments, &target, &created, "created", context).await;
        }
        Err(error) => return Err(error.doing(doing("retrieving current configuration of"))),
    };
    let (applied, verb) = update(arguments, &target, &wanted, live, context)
        .await
        .map_err(|error| error.doing(doing("applying patch to")))?;
    report(arguments, &target, &applied, verb, context).await
}

async fn create(
    arguments: &Arguments,
    target: &Target,
    wanted: &Value,
    context: &Context,
) -> Result<Value> {
    let object = patch::with_last_applied(wanted);
    if arguments.dry_run == DryRun::Client {
        return Ok(object);
    }
    let path = target.kind.collection(Some(&target.namespace));
    let call = Call::with_json(Method::POST, &path, &object);
    context.server.call(parameters(arguments, call)).await
}

fn parameters<'a>(arguments: &Arguments, call: Call<'a>) -> Call<'a> {
    let call = call
        .parameter("fieldManager", "kubectl-client-side-apply")
        .parameter("fieldValidation", arguments.validate.parameter());
    arguments.dry_run.ask(call)
}

async fn update(
    arguments: &Arguments,
    target: &Target,
    wanted: &Value,
    mut live: Value,
    context: &Context,
) -> Result<(Value, &'static str)> {
    let style = Style::of_group(&target.kind.group);
    let modified = patch::with_last_applied(wanted);
    for attempt in 1.. {
        let original = patch::last_applied(&live);
        if original.is_none() && attempt == 1 {
            eprintln!(
                "Warning: resource {}/{} is missing the {} annotation which is required by kubectl apply. \
                 kubectl apply should only be used on resources created declaratively by either kubectl \
                 create --save-config or kubectl apply. The missing annotation will be patched automatically.",
                target.kind.resource,
                target.name.as_deref().unwrap_or_default(),
                patch::LAST_APPLIED,
            );
        }
        let original = original.unwrap_or_default();
        let change = patch::three_way(&original, &modified, &live, style);
        if change.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok((live, "unchanged"));
        }
        if arguments.dry_run == DryRun::Client {
            return Ok((live, "configured"));
        }
        let path = target.path();
        let call = Call::patch(&path, style.content_type(), &change);
        match context.server.call(parameters(arguments, call)).await {
            Ok(applied) => {
                let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
                // A dry run never makes a new version.
                let real = arguments.dry_run == DryRun::None;
                let same = real && version(&applied) == version(&live);
                return Ok((applied, if same { "unchanged" } else { "configured" }));
            }
            Err(error) if error.code() == 409 && attempt < MAX_ATTEMPTS => {
                live = context.server.call(Call::get(&path)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((live, "unchanged"))
}

async fn server_side(
    arguments: &Arguments,
    target: &Target,
    wanted: &Value,
    context: &Context,
) -> Result<Value> {
    let path = target.path();
    // JSON is YAML.
    let mut call = Call::patch(&path, "application/apply-patch+yaml", wanted)
        .parameter("fieldManager", "kubectl")
        .parameter("force", arguments.force_conflicts.to_string())
        .parameter("fieldValidation", arguments.validate.parameter());
    if arguments.dry_run != DryRun::None {
        call = call.parameter("dryRun", "All");
    }
    context.server.call(call).await
}

async fn report(
    arguments: &Arguments,
    target: &Target,
    object: &Value,
    verb: &str,
    context: &Context,
) -> Result {
    match &arguments.output {
        Some(output) => Format::parse(Some(output))?.print(object.clone(), context).await,
        None => say(format!("{} {verb}{}", target.shown(), arguments.dry_run.suffix())),
    }
}
