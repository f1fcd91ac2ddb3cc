//! The server's `Table` as text. Never computes a cell: what a kind shows is the server's to say.

use serde::Deserialize;
use serde_json::Value;

use super::tabs;
use crate::labels;

/// What is shown beside the server's own columns.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Columns of lower priority too (`-o wide`).
    pub wide: bool,
    /// A NAMESPACE column first.
    pub namespace: bool,
    /// A LABELS column last.
    pub labels: bool,
    /// A column for each of these labels (`-L`).
    pub label_columns: Vec<String>,
    /// No header line.
    pub no_headers: bool,
    /// Put before each name: `service/`.
    pub name_prefix: Option<String>,
    /// An EVENT column first (`--output-watch-events`).
    pub event: Option<String>,
}

/// Rows as tab-separated lines, the header first unless it is not wanted.
///
/// `definitions` are the columns; a watch sends them only with its first event.
pub fn lines(definitions: &[Value], rows: &[Value], shown: &Shown, header: bool) -> String {
    let visible: Vec<usize> = (0..definitions.len())
        .filter(|index| shown.wide || definitions[*index]["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let mut text = String::new();
    if header && !shown.no_headers {
        let mut cells = Vec::new();
        cells.extend(shown.event.as_ref().map(|_| "EVENT".to_owned()));
        cells.extend(shown.namespace.then(|| "NAMESPACE".to_owned()));
        for index in &visible {
            let name = definitions[*index]["name"].as_str().unwrap_or_default();
            cells.push(name.to_uppercase());
        }
        for label in &shown.label_columns {
            cells.push(label.rsplit('/').next().unwrap_or(label).to_uppercase());
        }
        cells.extend(shown.labels.then(|| "LABELS".to_owned()));
        text.push_str(&(cells.join("\t") + "\n"));
    }
    for row in rows {
        text.push_str(&(row_cells(definitions, row, &visible, shown).join("\t") + "\n"));
    }
    text
}

fn row_cells(definitions: &[Value], row: &Value, visible: &[usize], shown: &Shown) -> Vec<String> {
    let metadata = &row["object"]["metadata"];
    let mut cells = Vec::new();
    cells.extend(shown.event.clone());
    if shown.namespace {
        cells.push(metadata["namespace"].as_str().unwrap_or_default().to_owned());
    }
    for index in visible {
        let text = one_line(&row["cells"][*index]);
        let is_name = definitions[*index]["format"] == "name";
        match &shown.name_prefix {
            Some(prefix) if is_name => cells.push(format!("{prefix}{text}")),
            _ => cells.push(text),
        }
    }
    let all = &metadata["labels"];
    for label in &shown.label_columns {
        cells.push(all[label].as_str().unwrap_or_default().to_owned());
    }
    if shown.labels {
        cells.push(labels::format(Deserialize::deserialize(all).ok().as_ref(), ",", "<none>"));
    }
    cells
}

fn one_line(cell: &Value) -> String {
    let text = match cell {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    };
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => text,
    }
}

/// Aligned text of a whole table.
pub fn render(table: &Value, shown: &Shown) -> String {
    let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
    tabs::align(&lines(definitions, rows, shown, true), tabs::GET)
}
