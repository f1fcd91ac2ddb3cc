//! kubectl's JSONPath templates: text, `{.items[*].metadata.name}`, `{range …}…{end}`.
//!
//! What kubectl calls JSONPath is not RFC 9535: there are templates, dots can be escaped, `$` is the
//! current object, and an index beyond the end is an error. `parse` reads that form and `step` gives
//! it, step by step, to the queries of `jsonpath-rust`.

mod parse;
mod step;

use serde_json::Value;

use super::{go_text, json, json_line};
use parse::Node;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a template. The error names what is wrong, in kubectl's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), nodes: parse::template(text)? })
    }

    /// Reads one expression, as in `custom-columns`: braces and the leading dot may be left out.
    pub fn parse_relaxed(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('{').map_or(Some(text), |it| it.strip_suffix('}'));
        let path = bare.map(|it| it.strip_prefix('.').unwrap_or(it));
        match path.filter(|it| !it.contains(['{', '}'])) {
            Some(path) => Self::parse(&format!("{{.{path}}}")),
            None => Err("unexpected path string, expected a 'name1.name2' or '.name1.name2' or \
                         '{name1.name2}' or '{.name1.name2}'"
                .to_owned()),
        }
    }

    /// The text for `value`. The error is kubectl's: what failed, the template and the object.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        let list =
            |list: &Vec<&Value>| list.iter().copied().map(plain).collect::<Vec<_>>().join(" ");
        Ok(self.lists(value)?.iter().map(list).collect())
    }

    /// As `render`, with each expression's results as a JSON array.
    pub fn render_json(&self, value: &Value) -> Result<String, String> {
        Ok(self.lists(value)?.iter().map(json).collect())
    }

    /// Everything the template's expressions select in `value`.
    pub fn select<'a>(&'a self, value: &'a Value) -> Result<Vec<&'a Value>, String> {
        let mut lists = Vec::new();
        evaluate(&self.nodes, value, &mut lists)?;
        Ok(lists.concat())
    }

    /// A list of results for each expression that was evaluated.
    fn lists<'a>(&'a self, value: &'a Value) -> Result<Vec<Vec<&'a Value>>, String> {
        let mut lists = Vec::new();
        let done = evaluate(&self.nodes, value, &mut lists);
        let (text, object) = (&self.text, || json_line(value));
        done.map(|()| lists).map_err(|error| {
            format!(
                "error executing jsonpath {text:?}: Error executing template: {error}. Printing more \
                 information for debugging the template:\n\ttemplate was:\n\t\t{text}\n\tobject given \
                 to jsonpath engine was:\n\t\t{}\n\n",
                object()
            )
        })
    }
}

fn evaluate<'a>(
    nodes: &'a [Node],
    value: &'a Value,
    lists: &mut Vec<Vec<&'a Value>>,
) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Action(steps) => lists.push(step::walk(steps, vec![value])?),
            Node::Range(steps, body) => {
                for item in step::walk(steps, vec![value])? {
                    evaluate(body, item, lists)?;
                }
            }
        }
    }
    Ok(())
}

/// A result as a template prints it: strings bare, the rest as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::String(_) => go_text(value),
        other => json_line(other),
    }
}
