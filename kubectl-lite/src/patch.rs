//! Three-way patches: what `apply` sends. Never talks to a server.
//!
//! The patch brings the live object to what the file says, and removes what the
//! file said last time and no longer says. What others set stays.

use serde_json::{Map, Value, json};

/// Annotation that keeps what was applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Content type of a patch that replaces lists whole (RFC 7386).
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Content type of a patch that merges lists by their items' keys.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// How lists are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// By the items' keys: `application/strategic-merge-patch+json`.
    Strategic,
    /// Replaced whole: `application/merge-patch+json`.
    Merge,
}

impl Style {
    /// The content type of a patch in this style.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Strategic => STRATEGIC_PATCH,
            Self::Merge => MERGE_PATCH,
        }
    }

    /// Kinds of Kubernetes' own groups take strategic patches, others do not.
    pub fn of_group(group: &str) -> Self {
        if group.is_empty() || !group.contains('.') || group.ends_with(".k8s.io") {
            return Self::Strategic;
        }
        Self::Merge
    }
}

/// The object with itself, as JSON, in its annotation.
pub fn with_last_applied(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(annotations) = bare["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    // kubectl keeps an empty map here too: the two may take turns on one object.
    if bare["metadata"]["annotations"].is_null() {
        bare["metadata"]["annotations"] = json!({});
    }
    let text = format!("{bare}\n");
    bare["metadata"]["annotations"][LAST_APPLIED] = Value::String(text);
    bare
}

/// What was applied last, if the live object says so.
pub fn last_applied(live: &Value) -> Option<Value> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    serde_json::from_str(text).ok()
}

/// The patch from `live` to `modified`; empty when there is nothing to do.
pub fn three_way(original: &Value, modified: &Value, live: &Value, style: Style) -> Value {
    Value::Object(maps(original, modified, live, style, &mut Vec::new()))
}

fn maps<'a>(
    original: &'a Value,
    modified: &'a Value,
    live: &Value,
    style: Style,
    path: &mut Vec<&'a str>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, wanted) in modified.as_object().into_iter().flatten() {
        let present = &live[key];
        path.push(key);
        match (wanted, present) {
            (Value::Null, _) => {
                if !present.is_null() {
                    patch.insert(key.clone(), Value::Null);
                }
            }
            (Value::Object(_), Value::Object(_)) => {
                let inner = maps(&original[key], wanted, present, style, path);
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Value::Array(items), Value::Array(existing)) => {
                let merge_key = match style {
                    Style::Strategic => merge_key(path, items, existing),
                    Style::Merge => None,
                };
                let changed = match merge_key {
                    Some(merge_key) => lists(&original[key], items, existing, merge_key, path),
                    None => (wanted != present).then(|| wanted.clone()),
                };
                if let Some(changed) = changed {
                    patch.insert(key.clone(), changed);
                }
            }
            _ if wanted == present => {}
            _ => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
        path.pop();
    }
    for (key, _) in original.as_object().into_iter().flatten() {
        if modified.get(key).is_none() && live.get(key).is_some() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    patch
}

fn lists<'a>(
    original: &'a Value,
    wanted: &'a [Value],
    existing: &[Value],
    merge_key: &str,
    path: &mut Vec<&'a str>,
) -> Option<Value> {
    let with = |items: &'a [Value], key: &Value| items.iter().find(|item| item[merge_key] == *key);
    let before = original.as_array().map_or(&[][..], Vec::as_slice);
    let mut changed = Vec::new();
    for item in wanted {
        let key = &item[merge_key];
        let Some(present) = existing.iter().find(|it| it[merge_key] == *key) else {
            changed.push(item.clone());
            continue;
        };
        let former = with(before, key).unwrap_or(&Value::Null);
        let mut inner = maps(former, item, present, Style::Strategic, path);
        if !inner.is_empty() {
            inner.insert(merge_key.to_owned(), key.clone());
            changed.push(Value::Object(inner));
        }
    }
    for item in before {
        let key = &item[merge_key];
        let present = existing.iter().any(|it| it[merge_key] == *key);
        if present && with(wanted, key).is_none() {
            changed.push(json!({"$patch": "delete", merge_key: key}));
        }
    }
    (!changed.is_empty()).then_some(Value::Array(changed))
}

/// The field that tells a list's items apart, or `None` for a list that is
/// replaced whole. These are upstream's `patchMergeKey`s, which hang on field
/// names and not on kinds.
fn merge_key(path: &[&str], wanted: &[Value], existing: &[Value]) -> Option<&'static str> {
    let all = || wanted.iter().chain(existing);
    let key = match *path.last()? {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims" => "name",
        "secrets" if path.len() == 1 => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        "conditions" | "addresses" if path[0] == "status" => "type",
        "ports" if path.contains(&"containers") || path.contains(&"initContainers") => {
            "containerPort"
        }
        "ports" if path == ["spec", "ports"] => "port",
        _ => return None,
    };
    // Two items with one key (53 over TCP and UDP) cannot be merged by it.
    let unique = |items: &[Value]| {
        let mut keys: Vec<_> = items.iter().map(|item| item[key].to_string()).collect();
        keys.sort();
        keys.windows(2).all(|pair| pair[0] != pair[1])
    };
    let keyed = all().all(|item| item.get(key).is_some_and(|it| !it.is_null()));
    (keyed && unique(wanted) && unique(existing)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategic(original: Value, modified: Value, live: Value) -> Value {
        three_way(&original, &modified, &live, Style::Strategic)
    }

    #[test]
    fn what_the_server_added_is_no_change() {
        let file = json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}});
        let live = json!({"spec": {
            "clusterIP": "10.96.0.2", "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30010}],
        }});
        assert_eq!(strategic(file.clone(), file, live), json!({}));
    }

    #[test]
    fn what_the_file_no_longer_says_goes_and_what_others_said_stays() {
        let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1}});
        let modified = json!({"metadata": {"labels": {"a": "3"}}});
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2", "c": "4"}}, "spec": {"x": 1, "y": 2}});
        let expected = json!({"metadata": {"labels": {"a": "3", "b": null}}, "spec": null});
        assert_eq!(strategic(original, modified, live), expected);
    }

    #[test]
    fn containers_merge_by_name() {
        let containers =
            |items: Value| json!({"spec": {"template": {"spec": {"containers": items}}}});
        let original = containers(json!([{"name": "a", "image": "x"}, {"name": "b"}]));
        let modified = containers(json!([{"name": "a", "image": "y"}, {"name": "c"}]));
        let live = containers(
            json!([{"name": "a", "image": "x", "tty": true}, {"name": "b"}, {"name": "side"}]),
        );
        let expected = containers(json!([
            {"name": "a", "image": "y"}, {"name": "c"}, {"$patch": "delete", "name": "b"},
        ]));
        assert_eq!(strategic(original, modified, live), expected);
    }

    #[test]
    fn ports_with_one_number_are_replaced_whole() {
        let ports = |items: Value| json!({"spec": {"ports": items}});
        let both = ports(json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]));
        let live = ports(json!([{"port": 53, "protocol": "UDP"}]));
        assert_eq!(strategic(live.clone(), both.clone(), live), both);
    }
}
