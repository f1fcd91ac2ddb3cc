//! Fields that several kinds share. Never knows a kind.

use serde_json::Value;

use super::page::Page;
use crate::patch::LAST_APPLIED;

/// Longest annotation that is shown on its name's line.
const MAX_ANNOTATION_CHARS: usize = 140;

/// A string, or nothing.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number or string as text.
pub fn plain(value: &Value) -> String {
    crate::render::jsonpath::plain(value)
}

/// The items of a list, none of anything else.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().map_or(&[][..], Vec::as_slice).iter()
}

/// A list of strings, joined; `<none>` when empty.
pub fn joined(value: &Value, separator: &str) -> String {
    let texts: Vec<_> = items(value).filter_map(Value::as_str).collect();
    if texts.is_empty() {
        return "<none>".to_owned();
    }
    texts.join(separator)
}

/// Labels, one a line.
pub fn labels(page: &mut Page, level: usize, title: &str, labels: &Value) {
    let pairs: Vec<_> = labels.as_object().into_iter().flatten().collect();
    if pairs.is_empty() {
        page.field(level, title, "<none>");
    }
    for (index, (key, value)) in pairs.into_iter().enumerate() {
        let title = if index == 0 { format!("{title}:") } else { String::new() };
        page.line(level, format!("{title}\t{key}={}", text(value)));
    }
}

/// Annotations, one a line; what `apply` keeps for itself is not shown.
pub fn annotations(page: &mut Page, level: usize, title: &str, annotations: &Value) {
    let pairs: Vec<_> = annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != LAST_APPLIED)
        .collect();
    if pairs.is_empty() {
        page.field(level, title, "<none>");
    }
    for (index, (key, value)) in pairs.into_iter().enumerate() {
        let title = if index == 0 { format!("{title}:") } else { String::new() };
        let value = text(value).trim_end_matches('\n');
        if key.len() + value.len() + 2 <= MAX_ANNOTATION_CHARS && !value.contains('\n') {
            page.line(level, format!("{title}\t{key}: {value}"));
            continue;
        }
        page.line(level, format!("{title}\t{key}:"));
        for line in value.lines() {
            let cut: String = line.chars().take(MAX_ANNOTATION_CHARS - 2).collect();
            let more = if cut.len() < line.len() { "..." } else { "" };
            page.line(level, format!("\t  {cut}{more}"));
        }
    }
}

/// Name, namespace, labels and annotations.
pub fn head(page: &mut Page, object: &Value) {
    let metadata = &object["metadata"];
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    labels(page, 0, "Labels", &metadata["labels"]);
    annotations(page, 0, "Annotations", &metadata["annotations"]);
}
