//! `api-resources`: what discovery says. Never asks for an object.

use crate::error::Result;
use crate::render::tabs;
use crate::{Context, print};

const EXAMPLES: &str = "Examples:
  kubectl-lite api-resources
  kubectl-lite api-resources --namespaced=true -o wide";

/// Print the supported API resources on the server
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// wide or name
    #[arg(long, short)]
    pub output: Option<String>,
    /// Only kinds in namespaces, or only others
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub namespaced: Option<bool>,
    /// Only this group
    #[arg(long)]
    pub api_group: Option<String>,
    /// Print no header line
    #[arg(long)]
    pub no_headers: bool,
}

/// Runs `api-resources`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let mut kinds: Vec<_> =
        context.discovery().await?.kinds.iter().filter(|it| it.preferred).collect();
    kinds.retain(|it| arguments.namespaced.is_none_or(|wanted| it.namespaced == wanted));
    kinds.retain(|it| arguments.api_group.as_ref().is_none_or(|group| it.group == *group));
    kinds
        .sort_by(|left, right| (&left.group, &left.resource).cmp(&(&right.group, &right.resource)));
    if arguments.output.as_deref() == Some("name") {
        return print(&kinds.iter().map(|it| it.qualified_resource() + "\n").collect::<String>());
    }
    let wide = arguments.output.as_deref() == Some("wide");
    let mut text = String::new();
    if !arguments.no_headers {
        text.push_str("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND");
        text.push_str(if wide { "\tVERBS\tCATEGORIES\n" } else { "\n" });
    }
    for kind in kinds {
        let short = kind.short_names.join(",");
        let (version, namespaced) = (kind.api_version(), kind.namespaced);
        text.push_str(&format!(
            "{}\t{short}\t{version}\t{namespaced}\t{}",
            kind.resource, kind.kind
        ));
        if wide {
            text.push_str(&format!("\t{}\t{}", kind.verbs.join(","), kind.categories.join(",")));
        }
        text.push('\n');
    }
    print(&tabs::align(&text, tabs::GET))
}
