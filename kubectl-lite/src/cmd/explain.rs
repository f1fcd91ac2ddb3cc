//! `explain`: a kind's fields from the server's OpenAPI. Never knows a field by itself.

use serde_json::Value;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::{Context, print};

const EXAMPLES: &str = "Examples:
  kubectl-lite explain deployment
  kubectl-lite explain service.spec.ports
  kubectl-lite explain pods.spec --recursive";

/// Width of descriptions, in characters.
const WIDTH: usize = 80;
/// Deepest nesting that `--recursive` shows: schemas may contain themselves.
const MAX_DEPTH: usize = 12;

/// Get documentation for a resource
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE[.FIELD...]
    pub path: String,
    /// All fields below, names only
    #[arg(long)]
    pub recursive: bool,
    /// GROUP/VERSION
    #[arg(long)]
    pub api_version: Option<String>,
}

/// Runs `explain`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let mut parts = arguments.path.split('.');
    let resource = parts.next().unwrap_or_default();
    let fields: Vec<_> = parts.collect();
    let discovery = context.discovery().await?;
    let mut kind = discovery.find(resource)?;
    if let Some(version) = &arguments.api_version {
        let found = discovery.of_object(version, &kind.kind);
        let missing = || {
            Error::message(format!("couldn't find resource for {version:?}, Kind={}", kind.kind))
        };
        kind = found.ok_or_else(missing)?;
    }
    let path = match kind.group.as_str() {
        "" => format!("/openapi/v3/api/{}", kind.version),
        group => format!("/openapi/v3/apis/{group}/{}", kind.version),
    };
    let document = context.server.call(Call::get(&path)).await?;
    let schemas = &document["components"]["schemas"];
    let is_kind = |schema: &&Value| {
        let mut kinds = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
        kinds.any(|it| {
            it["group"] == kind.group.as_str()
                && it["version"] == kind.version.as_str()
                && it["kind"] == kind.kind.as_str()
        })
    };
    let found = schemas.as_object().and_then(|it| it.values().find(is_kind));
    let mut schema = found.ok_or_else(|| {
        Error::message(format!("the server's OpenAPI does not describe {}", kind.kind))
    })?;
    let mut description = text(schema).to_owned();
    let mut field_line = String::new();
    for name in fields {
        let property = element(schemas, schema)["properties"].get(name);
        let property =
            property.ok_or_else(|| Error::message(format!("field {name:?} does not exist")))?;
        field_line = format!("FIELD: {name} <{}>\n\n", type_name(schemas, property));
        description = match text(property) {
            "" => text(element(schemas, property)).to_owned(),
            own => own.to_owned(),
        };
        schema = element(schemas, property);
    }
    let mut out = String::new();
    if !kind.group.is_empty() {
        out.push_str(&format!("GROUP:      {}\n", kind.group));
    }
    out.push_str(&format!(
        "KIND:       {}\nVERSION:    {}\n\n{field_line}",
        kind.kind, kind.version
    ));
    out.push_str(&format!("DESCRIPTION:\n{}\n", wrap(&description, 4)));
    if schema["properties"].is_object() {
        out.push_str("FIELDS:\n");
        list(schemas, schema, 2, arguments.recursive, &mut out);
    }
    out.push('\n');
    print(&out)
}

fn list(schemas: &Value, schema: &Value, indent: usize, recursive: bool, out: &mut String) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let margin = " ".repeat(indent);
        let must = if required.iter().any(|it| *it == name) { " -required-" } else { "" };
        let kind = type_name(schemas, property);
        out.push_str(&format!("{margin}{name}\t<{kind}>{must}\n"));
        if recursive {
            if indent / 2 < MAX_DEPTH {
                list(schemas, element(schemas, property), indent + 2, true, out);
            }
        } else {
            out.push_str(&wrap(text(property), indent + 2));
            out.push('\n');
        }
    }
}

/// Follows references; of lists and maps, to what they hold.
fn element<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolve(schemas, schema);
    if schema["items"].is_object() {
        return element(schemas, &schema["items"]);
    }
    if schema["additionalProperties"].is_object() {
        return element(schemas, &schema["additionalProperties"]);
    }
    schema
}

fn resolve<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    let wrapped = &schema["allOf"][0];
    let reference = schema["$ref"].as_str().or_else(|| wrapped["$ref"].as_str());
    let name = reference.and_then(|it| it.strip_prefix("#/components/schemas/"));
    name.map_or(schema, |name| &schemas[name])
}

fn type_name(schemas: &Value, schema: &Value) -> String {
    let wrapped = &schema["allOf"][0];
    let reference = schema["$ref"].as_str().or_else(|| wrapped["$ref"].as_str());
    let target = resolve(schemas, schema);
    if let Some(reference) = reference.filter(|_| target["properties"].is_object()) {
        return reference.rsplit(['.', '/']).next().unwrap_or_default().to_owned();
    }
    if target["items"].is_object() {
        return format!("[]{}", type_name(schemas, &target["items"]));
    }
    if target["additionalProperties"].is_object() {
        return format!("map[string]{}", type_name(schemas, &target["additionalProperties"]));
    }
    match target["type"].as_str() {
        Some("object") | None if reference.is_some() => {
            reference.and_then(|it| it.rsplit('.').next()).unwrap_or("Object").to_owned()
        }
        Some("object") | None => "Object".to_owned(),
        Some(other) => other.to_owned(),
    }
}

fn text(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn wrap(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let text = if text.is_empty() { "<no description>" } else { text };
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
                out.push_str(&format!("{margin}{line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(if line.is_empty() { "" } else { &margin });
        out.push_str(&(line + "\n"));
    }
    out
}
