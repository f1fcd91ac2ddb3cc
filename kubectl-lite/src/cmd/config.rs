//! `config view`, `current-context`, `get-contexts`. Never writes the file, and
//! never prints a key or a token.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::render::{self, tabs, yaml};
use crate::{Context, Global, client, print, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite config view
  kubectl-lite config current-context";

/// Look at the kubeconfig
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Print the kubeconfig
    View {
        /// json or yaml
        #[arg(long, short, default_value = "yaml")]
        output: String,
        /// Only the current context's parts
        #[arg(long)]
        minify: bool,
    },
    /// Print the current context
    CurrentContext,
    /// Print all contexts
    GetContexts {
        /// Print no header line
        #[arg(long)]
        no_headers: bool,
    },
}

/// Runs `config`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    show(arguments, &context.global)
}

/// Runs `config` without a server.
pub fn show(arguments: Arguments, global: &Global) -> Result {
    let file = client::kubeconfig(global)?;
    let mut value = serde_json::to_value(&file)
        .map_err(|error| Error::message(format!("the kubeconfig cannot be shown: {error}")))?;
    let current = global.context.clone().or(file.current_context).unwrap_or_default();
    match arguments.verb {
        Verb::CurrentContext if current.is_empty() => {
            Err(Error::message("current-context is not set"))
        }
        Verb::CurrentContext => say(current),
        Verb::GetContexts { no_headers } => {
            let mut text = String::new();
            if !no_headers {
                text.push_str("CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n");
            }
            for context in value["contexts"].as_array().into_iter().flatten() {
                let part = |name: &str| context["context"][name].as_str().unwrap_or_default();
                let name = context["name"].as_str().unwrap_or_default();
                let mark = if name == current { "*" } else { "" };
                let (cluster, user, namespace) = (part("cluster"), part("user"), part("namespace"));
                text.push_str(&format!("{mark}\t{name}\t{cluster}\t{user}\t{namespace}\n"));
            }
            print(&tabs::align(&text, tabs::GET))
        }
        Verb::View { output, minify } => {
            value["apiVersion"] = json!("v1");
            value["kind"] = json!("Config");
            value["current-context"] = json!(current);
            if minify {
                keep_only(&mut value, &current);
            }
            redact(&mut value);
            print(&if output == "json" { render::json(&value) } else { yaml::yaml(&value) })
        }
    }
}

fn keep_only(value: &mut Value, current: &str) {
    let contexts = value["contexts"].as_array().cloned().unwrap_or_default();
    let context = contexts.into_iter().find(|it| it["name"] == current).unwrap_or_default();
    let parts = [
        ("contexts", context["name"].clone()),
        ("clusters", context["context"]["cluster"].clone()),
        ("users", context["context"]["user"].clone()),
    ];
    for (field, name) in parts {
        if let Some(items) = value[field].as_array_mut() {
            items.retain(|it| it["name"] == name);
        }
    }
}

fn redact(value: &mut Value) {
    for cluster in value["clusters"].as_array_mut().into_iter().flatten() {
        if let Some(data) = cluster["cluster"].get_mut("certificate-authority-data") {
            *data = json!("DATA+OMITTED");
        }
    }
    for user in value["users"].as_array_mut().into_iter().flatten() {
        for field in ["client-certificate-data", "client-key-data"] {
            if let Some(data) = user["user"].get_mut(field) {
                *data = json!("DATA+OMITTED");
            }
        }
        for field in ["token", "password"] {
            if let Some(data) = user["user"].get_mut(field) {
                *data = json!("REDACTED");
            }
        }
    }
}
