//! `-o custom-columns=NAME:.metadata.name,…`: columns of one's own instead of the server's.

use serde_json::Value;

use super::jsonpath::Template;
use super::{go_text, tabs};

/// Parsed columns: title and what to print.
#[derive(Debug)]
pub struct Columns(Vec<(String, Template)>);

impl Columns {
    /// Reads `TITLE:PATH[,TITLE:PATH…]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("custom-columns format specified but no custom columns given".to_owned());
        }
        let columns: Result<Vec<_>, String> = text
            .split(',')
            .map(|column| {
                let (title, path) = column.split_once(':').ok_or_else(|| {
                    format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>")
                })?;
                Ok((title.to_owned(), Template::parse_relaxed(path)?))
            })
            .collect();
        columns.map(Self)
    }

    /// The table of these objects.
    pub fn render<'a>(
        &self,
        objects: impl Iterator<Item = &'a Value>,
        headers: bool,
    ) -> Result<String, String> {
        let mut text = String::new();
        if headers {
            let titles: Vec<_> = self.0.iter().map(|(title, _)| title.as_str()).collect();
            text.push_str(&(titles.join("\t") + "\n"));
        }
        for object in objects {
            let cells: Result<Vec<_>, _> =
                self.0.iter().map(|(_, path)| cell(path, object)).collect();
            text.push_str(&(cells?.join("\t") + "\n"));
        }
        Ok(tabs::align(&text, tabs::GET))
    }
}

fn cell(path: &Template, object: &Value) -> Result<String, String> {
    let found = path.select(object)?;
    if found.is_empty() {
        return Ok("<none>".to_owned());
    }
    Ok(found.into_iter().map(go_text).collect::<Vec<_>>().join(","))
}
