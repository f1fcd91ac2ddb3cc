//! Labels and label selectors as text. Never matches one against an object: the server does.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// `a=1,b=2`, or `none` where there are none.
pub fn format(labels: Option<&BTreeMap<String, String>>, separator: &str, none: &str) -> String {
    let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { none.to_owned() } else { pairs.join(separator) }
}

/// A LabelSelector as the text of a `labelSelector` parameter, and as `describe` shows it.
pub fn selector(selector: &LabelSelector) -> String {
    let equal = Some(format(selector.match_labels.as_ref(), ",", "")).filter(|it| !it.is_empty());
    let expressions = selector.match_expressions.iter().flatten().map(|it| {
        let (key, values) = (&it.key, it.values.as_deref().unwrap_or_default().join(","));
        match it.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            _ => format!("!{key}"),
        }
    });
    equal.into_iter().chain(expressions).collect::<Vec<_>>().join(",")
}
