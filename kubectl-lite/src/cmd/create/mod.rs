//! `create -f` and `create deployment`: objects that must not exist yet. Never changes one
//! that does.

mod deployment;

use std::path::PathBuf;

use http::Method;
use serde_json::Value;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::manifest::{self, Manifest};
use crate::output::Format;
use crate::{Context, patch, say, select};

const EXAMPLES: &str = "Examples:
  kubectl-lite create -f web.yaml
  kubectl-lite create -f - < pod.json
  kubectl-lite create deployment web --image=nginx --replicas=3";

/// `--dry-run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    /// Do it.
    #[default]
    None,
    /// Send nothing.
    Client,
    /// Send it, and let the server throw the result away.
    Server,
}

impl DryRun {
    /// Adds the parameter that says so to a request.
    pub fn ask(self, call: Call<'_>) -> Call<'_> {
        if self == Self::Server { call.parameter("dryRun", "All") } else { call }
    }

    /// What is said behind a verb.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// `--validate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Validate {
    /// Unknown fields are errors.
    #[default]
    #[value(alias = "true")]
    Strict,
    /// Unknown fields are warnings.
    Warn,
    /// Unknown fields are dropped.
    #[value(alias = "false")]
    Ignore,
}

impl Validate {
    /// The `fieldValidation` parameter.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Warn => "Warn",
            Self::Ignore => "Ignore",
        }
    }
}

/// What is made without a file.
#[derive(Clone, Debug, clap::Subcommand)]
enum Made {
    /// Create a deployment with the specified name
    #[command(visible_alias = "deploy", after_help = deployment::EXAMPLES)]
    Deployment {
        #[command(flatten)]
        arguments: deployment::Arguments,
        #[command(flatten)]
        sending: Sending,
    },
}

/// How an object is sent, and what is printed of it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Sending {
    /// Print only what would be done: none, client or server
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
    /// What the server does with unknown fields
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    pub validate: Validate,
    /// Keep the manifest in an annotation, for a later apply
    #[arg(long)]
    pub save_config: bool,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<String>,
}

/// Create a resource from a file or from stdin
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    made: Option<Made>,
    /// Files, folders or - with the objects
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',', required = true)]
    pub filename: Vec<PathBuf>,
    /// Folders below the given ones too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    #[command(flatten)]
    sending: Sending,
}

/// Runs `create`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    if let Some(Made::Deployment { arguments, sending }) = &arguments.made {
        let manifest = Manifest {
            source: "the command line".to_owned(),
            object: deployment::object(arguments)?,
        };
        return one(sending, &manifest, context).await;
    }
    let (manifests, errors) = manifest::read(&arguments.filename, arguments.recursive);
    let act = async |manifest: &Manifest| {
        let made = one(&arguments.sending, manifest, context).await;
        made.map_err(|error| error.doing(format!("error when creating {:?}", manifest.source)))
    };
    Error::for_each(manifests, errors, act).await
}

async fn one(sending: &Sending, manifest: &Manifest, context: &Context) -> Result {
    let mut target = select::of_manifest(context.discovery().await?, manifest, context)?;
    let mut object = manifest.object.clone();
    if target.kind.namespaced {
        object["metadata"]["namespace"] = target.namespace.clone().into();
    }
    if sending.save_config {
        object = patch::with_last_applied(&object);
    }
    let created: Value = if sending.dry_run == DryRun::Client {
        object
    } else {
        let path = target.kind.collection(Some(&target.namespace));
        let call = Call::with_json(Method::POST, &path, &object)
            .parameter("fieldManager", "kubectl-create")
            .parameter("fieldValidation", sending.validate.parameter());
        context.server.call(sending.dry_run.ask(call)).await?
    };
    match &sending.output {
        Some(output) => Format::parse(Some(output))?.print(created, context).await,
        None => {
            target.name = created["metadata"]["name"].as_str().map(str::to_owned);
            say(format!("{} created{}", target.shown(), sending.dry_run.suffix()))
        }
    }
}
