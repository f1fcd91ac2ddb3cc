//! Output formats. Never talks to a server.

pub mod columns;
pub mod jsonpath;
pub mod table;
pub mod tabs;
pub mod yaml;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

/// JSON as kubectl prints it: four spaces, sorted keys, a final newline.
pub fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a `Value` into memory cannot fail.
    let _ = value.serialize(&mut serializer);
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}
