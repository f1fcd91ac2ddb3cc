//! `get --watch`: a list, then a line for each change until the server closes the watch.

use serde_json::Value;

use super::Arguments;
use crate::client::{ACCEPT_TABLE, Call};
use crate::error::{Error, Result};
use crate::lines::Lines;
use crate::output::{self, Format};
use crate::render::{table, tabs};
use crate::select::Target;
use crate::{Context, print};

/// Runs `get --watch` and `get --watch-only`.
pub async fn run(
    arguments: &Arguments,
    format: &Format,
    targets: &[Target],
    context: &Context,
) -> Result {
    let [target] = targets else {
        return Err(Error::message("you may only specify a single resource type"));
    };
    let tables = matches!(format, Format::Table);
    let collection = Target { name: None, ..target.clone() };
    let path = super::path(arguments, &collection);
    let by_name = target.name.as_ref().map(|name| format!("metadata.name={name}"));
    let call = |path| {
        let mut call = super::select(arguments, Call::get(path));
        if let Some(by_name) = &by_name {
            call = call.parameter("fieldSelector", by_name);
        }
        call.accept = tables.then_some(ACCEPT_TABLE);
        call
    };
    let listed = context.server.call(call(&path)).await?;
    if by_name.is_some() && !arguments.watch_only {
        // A name that is missing is an error here, too.
        context.server.call(Call::get(&target.path())).await?;
    }
    let version = listed["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut printer = Printer {
        shown: super::shown(arguments, target, false),
        definitions: Vec::new(),
        widest: Vec::new(),
        header: true,
        events: arguments.output_watch_events,
    };
    if !arguments.watch_only {
        if tables {
            printer.rows("ADDED", &super::as_table(listed))?;
        } else {
            for item in listed["items"].as_array().into_iter().flatten() {
                printer.object("ADDED", item, format, context).await?;
            }
        }
    }
    let watch = call(&path).parameter("watch", "true").parameter("resourceVersion", version);
    let response = context.server.send(watch).await?;
    printer.follow(Lines::new(response.into_body()), format, context).await
}

/// Keeps columns as wide as the widest cell so far.
struct Printer {
    shown: table::Shown,
    definitions: Vec<Value>,
    widest: Vec<String>,
    header: bool,
    events: bool,
}

impl Printer {
    /// Prints each event until the server closes the watch.
    async fn follow(&mut self, mut lines: Lines, format: &Format, context: &Context) -> Result {
        while let Some(line) = lines.next().await? {
            let mut event: Value = serde_json::from_str(&line)
                .map_err(|error| Error::message(format!("an event is no JSON: {error}")))?;
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let object = event["object"].take();
            match kind.as_str() {
                "ERROR" => {
                    return Err(Error::Status { status: object, doing: None });
                }
                "BOOKMARK" => {}
                _ if matches!(format, Format::Table) => {
                    self.rows(&kind, &super::as_table(object))?
                }
                _ => self.object(&kind, &object, format, context).await?,
            }
        }
        Ok(())
    }

    fn rows(&mut self, event: &str, table: &Value) -> Result {
        if let Some(columns) = table["columnDefinitions"].as_array().filter(|it| !it.is_empty()) {
            self.definitions.clone_from(columns);
        }
        let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
        if rows.is_empty() {
            return Ok(());
        }
        self.shown.event = self.events.then(|| event.to_owned());
        let text = table::lines(&self.definitions, rows, &self.shown, self.header);
        self.header = false;
        for line in text.lines() {
            for (index, cell) in line.split('\t').enumerate() {
                match self.widest.get_mut(index) {
                    Some(widest) if widest.chars().count() < cell.chars().count() => {
                        cell.clone_into(widest);
                    }
                    Some(_) => {}
                    None => self.widest.push(cell.to_owned()),
                }
            }
        }
        let with_widest = format!("{}\n{text}", self.widest.join("\t"));
        let aligned = tabs::align(&with_widest, tabs::GET);
        print(aligned.split_once('\n').map_or("", |(_, rest)| rest))
    }

    async fn object(
        &self,
        event: &str,
        object: &Value,
        format: &Format,
        context: &Context,
    ) -> Result {
        let mut object = object.clone();
        if self.events {
            output::without_managed_fields(&mut object);
            object = serde_json::json!({"type": event, "object": object});
        }
        print(if matches!(format, Format::Yaml) { "---\n" } else { "" })?;
        format.print(object, context).await
    }
}
