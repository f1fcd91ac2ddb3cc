//! `--output`: its formats, and objects printed in one.

use serde_json::Value;

use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::render::columns::Columns;
use crate::render::jsonpath::Template;
use crate::render::{self, yaml};
use crate::{Context, print};

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
    /// A JSONPath template, its results as JSON.
    JsonPathAsJson(Template),
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
            "jsonpath" | "jsonpath-as-json" | "jsonpath-file" if value.is_empty() => {
                Err(Error::message("template format specified but no template given"))
            }
            "jsonpath" => template(value).map(Self::JsonPath),
            "jsonpath-as-json" => template(value).map(Self::JsonPathAsJson),
            "jsonpath-file" => {
                let text = std::fs::read_to_string(value).map_err(|error| {
                    let text = error.to_string().to_lowercase();
                    let text = text.split(" (os error").next().unwrap_or_default();
                    Error::message(format!(
                        "error reading --template {value}, open {value}: {text}"
                    ))
                })?;
                template(&text).map(Self::JsonPath)
            }
            "custom-columns" => Columns::parse(value).map(Self::Columns).map_err(Error::message),
            _ => Err(Error::message(format!(
                "unable to match a printer suitable for the output format {name:?}, allowed formats are: \
                 custom-columns,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml"
            ))),
        }
    }
    /// An object or a list, and its items.
    pub async fn text(
        &self,
        whole: &Value,
        items: &[Value],
        headers: bool,
        context: &Context,
    ) -> Result<String> {
        match self {
            Self::Columns(columns) => columns.render(items.iter(), headers).map_err(Error::message),
            Self::Name => {
                let discovery = context.discovery().await?;
                Ok(items.iter().map(|item| name(discovery, item) + "\n").collect())
            }
            Self::JsonPath(template) => template.render(whole).map_err(Error::message),
            Self::JsonPathAsJson(template) => template.render_json(whole).map_err(Error::message),
            Self::Yaml => Ok(yaml::yaml(whole)),
            Self::Json | Self::Table => Ok(render::json(whole)),
        }
    }

    /// Prints one object.
    pub async fn print(&self, mut object: Value, context: &Context) -> Result {
        without_managed_fields(&mut object);
        print(&self.text(&object, std::slice::from_ref(&object), true, context).await?)
    }
}

/// Drops what is long and rarely wanted.
pub fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// `deployment.apps/web` for an object.
fn name(discovery: &Discovery, object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]);
    let known = discovery.of_object(&text(&object["apiVersion"]), &kind);
    let kind = known.map_or_else(|| kind.to_lowercase(), |it| it.qualified_singular());
    format!("{kind}/{}", text(&object["metadata"]["name"]))
}
