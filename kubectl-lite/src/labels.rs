//! Labels and label selectors as text. Never matches one against an object: the server does.

use serde_json::Value;

/// `a=1,b=2`, or `none` where there are none.
pub fn format(labels: &Value, separator: &str, none: &str) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> =
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() {
        return none.to_owned();
    }
    pairs.join(separator)
}

/// A LabelSelector as the text of a `labelSelector` parameter, and as `describe` shows it.
pub fn selector(selector: &Value) -> String {
    let mut parts = Vec::new();
    let equal = format(&selector["matchLabels"], ",", "");
    if !equal.is_empty() {
        parts.push(equal);
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten();
        let values: Vec<_> = values.filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}
