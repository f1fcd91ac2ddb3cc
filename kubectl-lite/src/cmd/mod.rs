//! The verbs, a file for each. Never more here than the list of them.

pub mod annotate;
pub mod api_resources;
pub mod apply;
pub mod config;
pub mod create;
pub mod delete;
pub mod describe;
pub mod edit;
pub mod exec;
pub mod explain;
pub mod expose;
pub mod get;
pub mod label;
pub mod logs;
pub mod patch;
pub mod rollout;
pub mod scale;
pub mod version;
pub mod wait;

use crate::Context;
use crate::error::Result;

/// A verb and its arguments.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Display one or many resources
    #[command(after_help = get::EXAMPLES)]
    Get(get::Arguments),
    /// Show details of a resource or group of resources
    #[command(after_help = describe::EXAMPLES)]
    Describe(describe::Arguments),
    /// Apply a configuration to a resource by file name or stdin
    #[command(after_help = apply::EXAMPLES)]
    Apply(apply::Arguments),
    /// Create a resource from a file or from stdin
    #[command(after_help = create::EXAMPLES)]
    Create(create::Arguments),
    /// Take a deployment, pod or service and expose it as a new service
    #[command(after_help = expose::EXAMPLES)]
    Expose(expose::Arguments),
    /// Delete resources by file names, stdin, resources and names, or by label selector
    #[command(after_help = delete::EXAMPLES)]
    Delete(delete::Arguments),
    /// Update fields of a resource
    #[command(after_help = patch::EXAMPLES)]
    Patch(patch::Arguments),
    /// Edit a resource on the server
    #[command(after_help = edit::EXAMPLES)]
    Edit(edit::Arguments),
    /// Print the logs for a container in a pod
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::Arguments),
    /// Execute a command in a container
    #[command(after_help = exec::EXAMPLES)]
    Exec(exec::Arguments),
    /// Set a new size for a deployment or replica set
    #[command(after_help = scale::EXAMPLES)]
    Scale(scale::Arguments),
    /// Manage the rollout of a resource
    #[command(after_help = rollout::EXAMPLES)]
    Rollout(rollout::Arguments),
    /// Update the labels on a resource
    #[command(after_help = label::EXAMPLES)]
    Label(label::Arguments),
    /// Update the annotations on a resource
    #[command(after_help = annotate::EXAMPLES)]
    Annotate(annotate::Arguments),
    /// Wait for a condition on one or many resources
    #[command(after_help = wait::EXAMPLES)]
    Wait(wait::Arguments),
    /// Get documentation for a resource
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Arguments),
    /// Print the supported API resources on the server
    #[command(name = "api-resources", after_help = api_resources::EXAMPLES)]
    ApiResources(api_resources::Arguments),
    /// Print the client and server version
    #[command(after_help = version::EXAMPLES)]
    Version(version::Arguments),
    /// Look at the kubeconfig
    #[command(after_help = config::EXAMPLES)]
    Config(config::Arguments),
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Result {
        match self {
            Self::Get(arguments) => get::run(arguments, context).await,
            Self::Describe(arguments) => describe::run(arguments, context).await,
            Self::Apply(arguments) => apply::run(arguments, context).await,
            Self::Create(arguments) => create::run(arguments, context).await,
            Self::Expose(arguments) => expose::run(arguments, context).await,
            Self::Delete(arguments) => delete::run(arguments, context).await,
            Self::Patch(arguments) => patch::run(arguments, context).await,
            Self::Edit(arguments) => edit::run(arguments, context).await,
            Self::Logs(arguments) => logs::run(arguments, context).await,
            Self::Exec(arguments) => exec::run(arguments, context).await,
            Self::Scale(arguments) => scale::run(arguments, context).await,
            Self::Rollout(arguments) => rollout::run(arguments, context).await,
            Self::Label(arguments) => label::run(arguments, context).await,
            Self::Annotate(arguments) => annotate::run(arguments, context).await,
            Self::Wait(arguments) => wait::run(arguments, context).await,
            Self::Explain(arguments) => explain::run(arguments, context).await,
            Self::ApiResources(arguments) => api_resources::run(arguments, context).await,
            Self::Version(arguments) => version::run(arguments, context).await,
            Self::Config(arguments) => config::run(arguments, &context.global),
        }
    }
}
