//! Fields that several kinds share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::page::Page;
use crate::patch::LAST_APPLIED;

/// Longest annotation that is shown on its name's line.
const MAX_ANNOTATION_CHARS: usize = 140;

type Map = BTreeMap<String, String>;

/// A string, or nothing.
pub fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

/// A number, or a name, as text.
pub fn number_or_name(value: Option<&IntOrString>) -> String {
    match value {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => name.clone(),
        None => String::new(),
    }
}

/// Texts with a separator between; `<none>` when there are none.
pub fn joined<S: AsRef<str>>(texts: impl IntoIterator<Item = S>, separator: &str) -> String {
    let texts: Vec<_> = texts.into_iter().collect();
    let texts: Vec<_> = texts.iter().map(AsRef::as_ref).collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(separator) }
}

/// Texts one below the other, the title before the first.
pub fn column(page: &mut Page, level: usize, title: &str, texts: impl Iterator<Item = String>) {
    let mut texts = texts.peekable();
    if texts.peek().is_none() {
        page.field(level, title, "<none>");
    }
    for (index, text) in texts.enumerate() {
        let title = if index == 0 { format!("{title}:") } else { String::new() };
        page.line(level, format!("{title}\t{text}"));
    }
}

/// Labels, one a line.
pub fn labels(page: &mut Page, level: usize, title: &str, labels: Option<&Map>) {
    let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    column(page, level, title, pairs);
}

/// Annotations, one a line; what `apply` keeps for itself is not shown.
pub fn annotations(page: &mut Page, level: usize, title: &str, annotations: Option<&Map>) {
    let pairs = annotations.into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
    let lines = pairs.flat_map(|(key, value)| {
        let value = value.trim_end_matches('\n');
        if key.len() + value.len() + 2 <= MAX_ANNOTATION_CHARS && !value.contains('\n') {
            return vec![format!("{key}: {value}")];
        }
        let cut = value.lines().map(|line| {
            let cut: String = line.chars().take(MAX_ANNOTATION_CHARS - 2).collect();
            let more = if cut.len() < line.len() { "..." } else { "" };
            format!("  {cut}{more}")
        });
        std::iter::once(format!("{key}:")).chain(cut).collect()
    });
    column(page, level, title, lines);
}

/// Name and namespace.
pub fn name(page: &mut Page, metadata: &ObjectMeta) {
    page.field(0, "Name", text(&metadata.name));
    page.field(0, "Namespace", text(&metadata.namespace));
}

/// Labels and annotations.
pub fn maps(page: &mut Page, metadata: &ObjectMeta) {
    labels(page, 0, "Labels", metadata.labels.as_ref());
    annotations(page, 0, "Annotations", metadata.annotations.as_ref());
}

/// The owner that controls the object.
pub fn controller(page: &mut Page, metadata: &ObjectMeta) {
    let mut owners = metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.find(|it| it.controller == Some(true)) {
        page.field(0, "Controlled By", format!("{}/{}", owner.kind, owner.name));
    }
}

/// Conditions with type, status and, in a third column, a reason.
pub fn conditions<'a>(
    page: &mut Page,
    conditions: impl Iterator<Item = (&'a String, &'a String, Option<&'a str>)>,
) {
    for (index, (kind, status, reason)) in conditions.enumerate() {
        if index == 0 {
            let (title, rule) = reason.map_or(("", ""), |_| ("\tReason", "\t------"));
            page.line(0, "Conditions:");
            page.line(1, format!("Type\tStatus{title}"));
            page.line(1, format!("----\t------{rule}"));
        }
        let reason = reason.map(|it| format!("\t{it}")).unwrap_or_default();
        page.line(1, format!("{kind} \t{status}{reason}"));
    }
}
