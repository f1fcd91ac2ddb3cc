//! `get`: lists and objects in every output format. Never changes anything.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::watch;
use crate::client::{ACCEPT_TABLE, Call};
use crate::error::{Error, Result};
use crate::render::columns::Columns;
use crate::render::jsonpath::Template;
use crate::render::{self, table, yaml};
use crate::select::{self, Target};
use crate::{Context, manifest, print, time};

/// Shown by `get --help`.
pub const EXAMPLES: &str = "Examples:
  kubectl-lite get pods
  kubectl-lite get svc,po,ep,deploy -o wide
  kubectl-lite get svc web -o yaml
  kubectl-lite get pods -l app=web -o jsonpath='{.items[*].status.podIP}'
  kubectl-lite get endpoints web -w";

/// Arguments of `get`.
#[derive(Clone, Debug, clap::Args)]
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

/// A parsed `--output`.
#[derive(Debug)]
pub enum Format {
    /// The server's table.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `kind/name`.
    Name,
    /// A JSONPath template.
    JsonPath(Template),
    /// Columns of one's own.
    Columns(Columns),
}

impl Format {
    /// Reads `--output`.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::Table);
        };
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let template = |text: &str| {
            let template = Template::parse(text);
            template
                .map_err(|error| Error::message(format!("error parsing jsonpath {text}, {error}")))
        };
        match name {
            "wide" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            "jsonpath" if value.is_empty() => {
                Err(Error::message("template format specified but no template given"))
            }
            "jsonpath" | "jsonpath-as-json" => template(value).map(Self::JsonPath),
            "jsonpath-file" => {
                let text = std::fs::read_to_string(value).map_err(|error| {
                    Error::message(format!("cannot read the template {value:?}: {error}"))
                })?;
                template(&text).map(Self::JsonPath)
            }
            "custom-columns" => Columns::parse(value).map(Self::Columns).map_err(Error::message),
            _ => Err(Error::message(format!(
                "unable to match a printer suitable for the output format {name:?}, allowed formats are: \
                 custom-columns,json,jsonpath,jsonpath-file,name,wide,yaml"
            ))),
        }
    }
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
            let created = item["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
            let cells = json!([item["metadata"]["name"], time::since(created)]);
            json!({"cells": cells, "object": item})
        })
        .collect();
    let columns = json!([{"name": "Name", "format": "name"}, {"name": "Age"}]);
    json!({"kind": "Table", "columnDefinitions": columns, "rows": rows})
}

fn sort(items: &mut [Value], path: &str, object: impl Fn(&Value) -> &Value) -> Result {
    let path = Template::parse_relaxed(path).map_err(Error::message)?;
    items.sort_by(|left, right| {
        let left = path.select(object(left)).first().copied().cloned();
        let right = path.select(object(right)).first().copied().cloned();
        let numbers =
            (left.as_ref().and_then(Value::as_f64), right.as_ref().and_then(Value::as_f64));
        match numbers {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => left.map(|it| it.to_string()).cmp(&right.map(|it| it.to_string())),
        }
    });
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
        items.iter_mut().for_each(without_managed_fields);
    }
    let items_found = items.len();
    let whole = || match &items[..] {
        [only] if single => only.clone(),
        _ => json!({
            "apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""},
        }),
    };
    let text = match format {
        Format::Columns(columns) => columns.render(items.iter(), !arguments.no_headers),
        Format::Name => {
            let discovery = context.discovery().await?;
            items.iter().map(|item| name(discovery, item) + "\n").collect()
        }
        Format::JsonPath(template) => template.render(&whole()),
        Format::Yaml => yaml::yaml(&whole()),
        Format::Json | Format::Table => render::json(&whole()),
    };
    if items_found == 0 && matches!(format, Format::Columns(_) | Format::Name) {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    print(&text)
}

/// Items of a list come without their kind.
fn typed(mut item: Value, target: &Target) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| target.kind.api_version().into());
        map.entry("kind").or_insert_with(|| target.kind.kind.clone().into());
    }
    item
}

/// Drops what is long and rarely wanted.
pub fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// `deployment.apps/web` for an object.
pub fn name(discovery: &crate::discovery::Discovery, object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]);
    let known = discovery.of_object(&text(&object["apiVersion"]), &kind);
    let kind = known.map_or_else(|| kind.to_lowercase(), |it| it.qualified_singular());
    format!("{kind}/{}", text(&object["metadata"]["name"]))
}

/// Prints an object in a format a command was asked for.
pub async fn print_object(format: &Format, object: &Value, context: &Context) -> Result {
    let mut object = object.clone();
    without_managed_fields(&mut object);
    match format {
        Format::Json | Format::Table => print(&render::json(&object)),
        Format::Yaml => print(&yaml::yaml(&object)),
        Format::Name => print(&(name(context.discovery().await?, &object) + "\n")),
        Format::JsonPath(template) => print(&template.render(&object)),
        Format::Columns(columns) => print(&columns.render(std::iter::once(&object), true)),
    }
}
