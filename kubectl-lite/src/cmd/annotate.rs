//! `annotate`: sets and removes annotations.

use super::label;
use crate::Context;
use crate::error::Result;

const EXAMPLES: &str = "Examples:
  kubectl-lite annotate svc web note='first try'
  kubectl-lite annotate svc web note-";

/// Update the annotations on a resource
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    changes: label::Changes,
}

/// Runs `annotate`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    label::change(arguments.changes, "annotations", "annotated", context).await
}
