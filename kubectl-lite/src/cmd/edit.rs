//! `edit`: an object in the user's editor, sent back as the difference. Never
//! loses an edit that the server refused: the file stays.

use std::io::Write as _;

use serde_json::Value;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::output;
use crate::patch::{self, Style};
use crate::render::yaml;
use crate::select::{Selection, Target};
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite edit deployment web
  KUBE_EDITOR=nano kubectl-lite edit svc/web";

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n\
    # and an empty file will abort the edit. If an error occurs while saving this file will be\n\
    # reopened with the relevant failures.\n#\n";
/// How often the editor is opened again after an error.
const MAX_ATTEMPTS: usize = 10;

/// Edit a resource on the server
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME
    pub resources: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

/// Runs `edit`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let (targets, errors) = arguments.selection.find(context, &arguments.resources).await?;
    Error::for_each(targets, errors, async |target| one(target, context).await).await
}

async fn one(target: &Target, context: &Context) -> Result {
    let path = target.path();
    let mut object = context.server.call(Call::get(&path)).await?;
    output::without_managed_fields(&mut object);
    let original = yaml::yaml(&object);
    let mut text = format!("{HEADER}{original}");
    let failed =
        |error: std::io::Error| Error::message(format!("cannot write the file to edit: {error}"));
    let mut file = tempfile::Builder::new()
        .prefix("kubectl-edit-")
        .suffix(".yaml")
        .tempfile()
        .map_err(failed)?;
    for attempt in 1..=MAX_ATTEMPTS {
        file.as_file_mut().set_len(0).map_err(failed)?;
        std::fs::write(file.path(), &text).map_err(failed)?;
        file.flush().map_err(failed)?;
        open_editor(file.path()).await?;
        let edited = std::fs::read_to_string(file.path()).map_err(failed)?;
        let bare: String =
            edited.lines().filter(|it| !it.starts_with('#')).map(|it| format!("{it}\n")).collect();
        if bare.trim().is_empty() || bare == original || (attempt > 1 && edited == text) {
            return say(if attempt == 1 {
                "Edit cancelled, no changes made."
            } else {
                "Edit cancelled, no valid changes were saved."
            });
        }
        let error = match send(target, &path, &object, &bare, context).await {
            Ok(()) => return Ok(()),
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => error.to_string(),
        };
        eprintln!("{error}");
        let notes: String = error.lines().map(|line| format!("# {line}\n")).collect();
        text = format!("{HEADER}{notes}#\n{bare}");
    }
    let kept = file.keep().map_err(|error| failed(error.error))?;
    Err(Error::message(format!("given up; a copy of your changes is in {}", kept.1.display())))
}

async fn send(
    target: &Target,
    path: &str,
    object: &Value,
    text: &str,
    context: &Context,
) -> Result {
    let wanted: Value = serde_saphyr::from_str(text).map_err(|error| {
        Error::message(format!("the edited file is no YAML: {}", error.without_snippet()))
    })?;
    let style = Style::of_group(&target.kind.group);
    let change = patch::three_way(object, &wanted, object, style);
    if change.as_object().is_none_or(serde_json::Map::is_empty) {
        return say("Edit cancelled, no changes made.");
    }
    let call = Call::patch(path, style.content_type(), &change)
        .parameter("fieldManager", "kubectl-edit")
        .parameter("fieldValidation", "Strict");
    context.server.call(call).await?;
    say(format!("{} edited", target.shown()))
}

/// Opens `$KUBE_EDITOR`, `$EDITOR` or vi. The variable may carry arguments, so a shell reads it.
async fn open_editor(path: &std::path::Path) -> Result {
    let named = ["KUBE_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = named.filter(|it| !it.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    let status = tokio::process::Command::new("/bin/sh")
        .args(["-c", &format!("{editor} \"$0\"")])
        .arg(path)
        .status()
        .await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Error::message(format!("there was a problem with the editor {editor:?}: {status}")))
        }
        Err(error) => {
            Err(Error::message(format!("unable to launch the editor {editor:?}: {error}")))
        }
    }
}
