//! `api-versions`: the groups and versions that discovery names.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::{Context, print};

const EXAMPLES: &str = "Examples:
  kubectl-lite api-versions
  kubectl-lite api-versions | grep networking";

/// Print the supported API versions on the server, in the form of "group/version"
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Runs `api-versions`.
pub async fn run(_: Arguments, context: &Context) -> Result {
    let kinds = &context.discovery().await?.kinds;
    let versions: BTreeSet<_> = kinds.iter().map(|kind| kind.api_version() + "\n").collect();
    print(&versions.into_iter().collect::<String>())
}
