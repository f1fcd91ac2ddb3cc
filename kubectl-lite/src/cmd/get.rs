//! `get`: lists and objects in every output format.

mod watch;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{ACCEPT_TABLE, Call};
use crate::error::{Error, Result};
use crate::output::{self, Format};
use crate::render::jsonpath::Template;
use crate::render::table;
use crate::select::{self, Target};
use crate::{Context, manifest, print, time};

const EXAMPLES: &str = "Examples:
  kubectl-lite get pods
  kubectl-lite get svc,po,ep,deploy -o wide
  kubectl-lite get svc web -o yaml
  kubectl-lite get pods -l app=web -o jsonpath='{.items[*].status.podIP}'
  kubectl-lite get endpoints web -w";

/// Display one or many resources
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE[,TYPE] [NAME...] or TYPE/NAME...
    pub resources: Vec<String>,
    /// wide, yaml, json, name, jsonpath=TEMPLATE, jsonpath-file=FILE or custom-columns=TITLE:PATH,...
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Label selector: key=value, key!=value, key in (a,b), key, !key
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Field selector, as status.phase=Running
    #[arg(long)]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// After listing, watch for changes
    #[arg(long, short)]
    pub watch: bool,
    /// Watch without listing first
    #[arg(long)]
    pub watch_only: bool,
    /// Print the event type of what is watched
    #[arg(long)]
    pub output_watch_events: bool,
    /// Print all labels as the last column
    #[arg(long)]
    pub show_labels: bool,
    /// Print these labels as columns
    #[arg(long, short = 'L', value_name = "LABEL", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Print the kind before each name
    #[arg(long)]
    pub show_kind: bool,
    /// Print managedFields in yaml and json
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Print no header line
    #[arg(long)]
    pub no_headers: bool,
    /// Sort by this JSONPath
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Objects that are missing are no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Files, folders or - with the objects
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<PathBuf>,
    /// Folders below the given ones too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Print the server's answer to this path as it is
    #[arg(long, value_name = "PATH")]
    pub raw: Option<String>,
}

/// Runs `get`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    if let Some(path) = &arguments.raw {
        return print(&context.server.text(Call::get(path)).await?);
    }
    let format = Format::parse(arguments.output.as_deref())?;
    let (targets, mut errors) = find(&arguments, context).await?;
    if arguments.watch || arguments.watch_only {
        return watch::run(&arguments, &format, &targets, context).await;
    }
    match format {
        Format::Table => tables(&arguments, &targets, context, &mut errors).await?,
        format => objects(&arguments, &format, &targets, context, &mut errors).await?,
    }
    Error::collect(errors)
}

async fn find(arguments: &Arguments, context: &Context) -> Result<(Vec<Target>, Vec<Error>)> {
    let discovery = context.discovery().await?;
    if arguments.filename.is_empty() {
        let targets = select::targets(discovery, &arguments.resources, context.namespace())?;
        let named = targets.iter().any(|target| target.name.is_some());
        if named && (arguments.selector.is_some() || arguments.field_selector.is_some()) {
            let text = "name cannot be provided when a selector is specified";
            return Err(Error::message(text));
        }
        if named && arguments.all_namespaces {
            let text = "a resource cannot be retrieved by name across all namespaces";
            return Err(Error::message(text));
        }
        return Ok((targets, Vec::new()));
    }
    let (manifests, mut errors) = manifest::read(&arguments.filename, arguments.recursive);
    let mut targets = Vec::new();
    for manifest in manifests {
        match select::of_manifest(discovery, &manifest, context) {
            Ok(target) => targets.push(target),
            Err(error) => errors.push(error),
        }
    }
    Ok((targets, errors))
}

/// The path that `get` reads for a target.
pub fn path(arguments: &Arguments, target: &Target) -> String {
    if arguments.all_namespaces && target.name.is_none() {
        return target.kind.collection(None);
    }
    target.path()
}

/// Adds the selectors.
pub fn select<'a>(arguments: &Arguments, mut call: Call<'a>) -> Call<'a> {
    if let Some(selector) = &arguments.selector {
        call = call.parameter("labelSelector", selector);
    }
    if let Some(selector) = &arguments.field_selector {
        call = call.parameter("fieldSelector", selector);
    }
    call
}

/// What a table shows beside the server's columns.
pub fn shown(arguments: &Arguments, target: &Target, several: bool) -> table::Shown {
    let prefix = several || arguments.show_kind;
    table::Shown {
        wide: arguments.output.as_deref() == Some("wide"),
        namespace: arguments.all_namespaces && target.kind.namespaced,
        labels: arguments.show_labels,
        label_columns: arguments.label_columns.clone(),
        no_headers: arguments.no_headers,
        name_prefix: prefix.then(|| format!("{}/", target.kind.qualified_singular())),
        event: None,
    }
}

/// Tables are printed kind by kind, with an empty line between.
async fn tables(
    arguments: &Arguments,
    targets: &[Target],
    context: &Context,
    errors: &mut Vec<Error>,
) -> Result {
    let several = targets.windows(2).any(|pair| pair[0].kind != pair[1].kind);
    let mut groups: Vec<(&Target, Value)> = Vec::new();
    for target in targets {
        let path = path(arguments, target);
        let mut call = select(arguments, Call::get(&path));
        call.accept = Some(ACCEPT_TABLE);
        if arguments.sort_by.is_some() {
            call = call.parameter("includeObject", "Object");
        }
        let mut found = match context.server.call(call).await {
            Ok(answer) => as_table(answer),
            Err(error) if error.is_not_found() && arguments.ignore_not_found => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match groups.last_mut() {
            Some((last, table)) if last.kind == target.kind => {
                if let (Some(rows), Value::Array(more)) =
                    (table["rows"].as_array_mut(), found["rows"].take())
                {
                    rows.extend(more);
                }
            }
            _ => groups.push((target, found)),
        }
    }
    let mut printed = false;
    for (target, mut table) in groups {
        if table["rows"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        if let (Some(path), Some(rows)) = (&arguments.sort_by, table["rows"].as_array_mut()) {
            sort(rows, path, |row| &row["object"])?;
        }
        if printed && !arguments.no_headers {
            print("\n")?;
        }
        print(&table::render(&table, &shown(arguments, target, several)))?;
        printed = true;
    }
    if !printed && errors.is_empty() && !arguments.ignore_not_found {
        let namespaced = targets.iter().all(|target| target.kind.namespaced);
        if arguments.all_namespaces || !namespaced {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", context.namespace());
        }
    }
    Ok(())
}

/// A server without tables gives objects: name and age of each are shown then.
pub fn as_table(answer: Value) -> Value {
    if answer["kind"] == "Table" {
        return answer;
    }
    let items = match answer.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![answer],
    };
    let rows: Vec<_> = items
        .into_iter()
        .map(|item| {
            let created = item["metadata"]["creationTimestamp"].as_str();
            let created = created.and_then(|it| it.parse().ok());
            let cells = json!([item["metadata"]["name"], time::since(created)]);
            json!({"cells": cells, "object": item})
        })
        .collect();
    let columns = json!([{"name": "Name", "format": "name"}, {"name": "Age"}]);
    json!({"kind": "Table", "columnDefinitions": columns, "rows": rows})
}

/// By a field, as numbers where all have one.
fn sort(items: &mut Vec<Value>, path: &str, object: impl Fn(&Value) -> &Value) -> Result {
    let template = Template::parse_relaxed(path).map_err(Error::message)?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let found = template.select(object(&item)).map_err(Error::message)?;
        keyed.push((found.first().copied().cloned(), item));
    }
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        let path = path.trim_matches(['{', '}', '.']);
        let text =
            format!("couldn't find any field with path \"{{.{path}}}\" in the list of objects");
        return Err(Error::message(text));
    }
    keyed.sort_by(|(left, _), (right, _)| {
        let number = |key: &Option<Value>| key.as_ref().and_then(Value::as_f64);
        match (number(left), number(right)) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => {
                let text = |key: &Option<Value>| key.as_ref().map(Value::to_string);
                text(left).cmp(&text(right))
            }
        }
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
    Ok(())
}

async fn objects(
    arguments: &Arguments,
    format: &Format,
    targets: &[Target],
    context: &Context,
    errors: &mut Vec<Error>,
) -> Result {
    let mut items = Vec::new();
    let mut single = false;
    for target in targets {
        let path = path(arguments, target);
        let call = select(arguments, Call::get(&path));
        match context.server.call(call).await {
            Ok(mut answer) => match answer["items"].take() {
                Value::Array(listed) if target.name.is_none() => {
                    items.extend(listed.into_iter().map(|item| typed(item, target)));
                }
                taken => {
                    if !taken.is_null() {
                        answer["items"] = taken;
                    } else if let Some(map) = answer.as_object_mut() {
                        map.remove("items");
                    }
                    single = targets.len() == 1;
                    items.push(answer);
                }
            },
            Err(error) if error.is_not_found() && arguments.ignore_not_found => single = true,
            Err(error) => errors.push(error),
        }
    }
    if items.is_empty() && (single || !errors.is_empty()) {
        return Ok(());
    }
    if let Some(path) = &arguments.sort_by {
        sort(&mut items, path, |item| item)?;
    }
    if !arguments.show_managed_fields {
        items.iter_mut().for_each(output::without_managed_fields);
    }
    if items.is_empty() && matches!(format, Format::Columns(_) | Format::Name) {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    let whole = match items.len() {
        1 if single => items.remove(0),
        _ => json!({
            "apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""},
        }),
    };
    let items = whole["items"].as_array().filter(|_| !single);
    let items = items.map_or(std::slice::from_ref(&whole), Vec::as_slice);
    print(&format.text(&whole, items, !arguments.no_headers, context).await?)
}

/// Items of a list come without their kind.
fn typed(mut item: Value, target: &Target) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| target.kind.api_version().into());
        map.entry("kind").or_insert_with(|| target.kind.kind.clone().into());
    }
    item
}
