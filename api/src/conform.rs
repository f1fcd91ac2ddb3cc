//! Whether a tree has the fields and types of a definition.
//!
//! Never looks at values beyond their type and form.

use base64::Engine;
use serde_json::Value;

use crate::shape::{self, Shape};

/// Adds an issue for each unknown field. Errors name the first field of a wrong type.
pub fn check(definition: &str, value: &Value, issues: &mut Vec<String>) -> Result<(), String> {
    check_struct(definition, value, "", issues)
}

/// What a tree is, in words for an error.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_struct(
    definition: &str,
    value: &Value,
    path: &str,
    issues: &mut Vec<String>,
) -> Result<(), String> {
    let Value::Object(map) = value else {
        return Err(mismatch(value, path, "object"));
    };
    let Some(fields) = shape::fields(definition) else {
        return Ok(());
    };
    for (key, value) in map {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match fields.get(key) {
            Some(field) => check_value(&field.shape, value, &path, issues)?,
            None => issues.push(format!("unknown field \"{path}\"")),
        }
    }
    Ok(())
}

fn check_value(
    shape: &Shape,
    value: &Value,
    path: &str,
    issues: &mut Vec<String>,
) -> Result<(), String> {
    // `null` is as if the field were not there.
    if value.is_null() {
        return Ok(());
    }
    match (shape, value) {
        (Shape::Any, _) => Ok(()),
        (Shape::Struct(definition), _) => check_struct(definition, value, path, issues),
        (Shape::Map(values), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            check_value(values, value, &format!("{path}.{key}"), issues)
        }),
        (Shape::Map(_), _) => Err(mismatch(value, path, "object")),
        (Shape::List(items), Value::Array(list)) => {
            list.iter().enumerate().try_for_each(|(index, value)| {
                check_value(items, value, &format!("{path}[{index}]"), issues)
            })
        }
        (Shape::List(_), _) => Err(mismatch(value, path, "array")),
        _ => check_scalar(shape, value, path),
    }
}

fn check_scalar(shape: &Shape, value: &Value, path: &str) -> Result<(), String> {
    match (shape, value) {
        (Shape::Time, Value::String(text)) if text.parse::<jiff::Timestamp>().is_err() => {
            Err(format!("field {path}: \"{text}\" is not a time such as 2006-01-02T15:04:05Z"))
        }
        (Shape::Bytes, Value::String(text)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map(drop).map_err(|error| format!("field {path}: not base64: {error}"))
        }
        (Shape::Text | Shape::Time | Shape::IntOrString | Shape::Quantity, Value::String(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Number | Shape::Quantity, Value::Number(_)) => Ok(()),
        (Shape::Int32 | Shape::IntOrString, Value::Number(number)) => match number.as_i64() {
            Some(number) if i32::try_from(number).is_ok() => Ok(()),
            _ => Err(mismatch(value, path, "int32")),
        },
        (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
        _ => Err(mismatch(value, path, expected(shape))),
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        Shape::Number => "number",
        Shape::Boolean => "bool",
        Shape::IntOrString => "int32 or string",
        Shape::Quantity => "quantity",
        _ => "string",
    }
}

fn mismatch(value: &Value, path: &str, expected: &str) -> String {
    let found = match value {
        // The number itself says what is wrong with it: too large, or not whole.
        Value::Number(number) => format!("number {number}"),
        other => type_name(other).to_owned(),
    };
    let field = if path.is_empty() { "the object" } else { path };
    format!("json: cannot unmarshal {found} into field {field} of type {expected}")
}
