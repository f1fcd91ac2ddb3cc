//! Output formats.

pub mod columns;
pub mod jsonpath;
pub mod table;
pub mod tabs;
pub mod yaml;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// JSON as kubectl prints it: four spaces, sorted keys, a final newline.
pub fn json(value: &impl Serialize) -> String {
    written(value, PrettyFormatter::with_indent(b"    ")) + "\n"
}

/// JSON on one line.
pub fn json_line(value: &Value) -> String {
    written(value, CompactFormatter)
}

fn written(value: &impl Serialize, formatter: impl Formatter) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a `Value` into memory cannot fail.
    let _ = value.serialize(&mut serializer);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // Go escapes what means something in HTML; outside of strings there is none of it.
    let special = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    special.iter().fold(text, |text, symbol| match text.contains(*symbol) {
        true => text.replace(*symbol, &format!("\\u{:04x}", u32::from(*symbol))),
        false => text,
    })
}

/// A value as Go prints it: `web`, `2`, `[a b]`, `map[app:web]`, `<nil>`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => float.to_string(),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}
