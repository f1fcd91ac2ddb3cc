//! The verbs, a file for each: its arguments with their help, and what it does.

use crate::Context;
use crate::error::Result;

/// Makes the modules and the enum of all verbs.
macro_rules! verbs {
    ($($module:ident::$verb:ident,)*) => {
        $(pub mod $module;)*

        /// A verb and its arguments.
        #[derive(Clone, Debug, clap::Subcommand)]
        #[allow(missing_docs, reason = "each verb's arguments say what it is")]
        pub enum Command {
            $($verb($module::Arguments),)*
        }

        impl Command {
            /// Runs it.
            pub async fn run(self, context: &Context) -> Result {
                match self {
                    $(Self::$verb(arguments) => $module::run(arguments, context).await,)*
                }
            }
        }
    };
}

// A verb is a file and a line here, in the order of the help.
verbs! {
    get::Get,
    describe::Describe,
    apply::Apply,
    create::Create,
    expose::Expose,
    delete::Delete,
    patch::Patch,
    edit::Edit,
    logs::Logs,
    exec::Exec,
    scale::Scale,
    rollout::Rollout,
    label::Label,
    annotate::Annotate,
    wait::Wait,
    explain::Explain,
    api_resources::ApiResources,
    api_versions::ApiVersions,
    version::Version,
    config::Config,
}
