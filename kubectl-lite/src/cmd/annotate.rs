//! `annotate`: sets and removes annotations. Never touches anything else of an object.

use super::label;
use crate::Context;
use crate::error::Result;

/// Shown by `annotate --help`.
pub const EXAMPLES: &str = "Examples:
  kubectl-lite annotate svc web note='first try'
  kubectl-lite annotate svc web note-";

pub use super::label::Arguments;

/// Runs `annotate`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    label::change(arguments, "annotations", "annotated", context).await
}
