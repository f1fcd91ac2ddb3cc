//! A message as a tree: field numbers and types joined.
//!
//! Never checks a value beyond what its type can be on the wire.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::{
    numbers::{self, Meaning},
    wire::{Field, Reader},
};
use crate::{
    decode_error::DecodeError,
    shape::{self, Shape},
};

/// Finest part of a second that a time keeps, as `MicroTime`.
const MIN_TIME_NS: i32 = 1_000;

/// Adds the fields of a message to an object of the definition. What the definition does not
/// know is left out, as upstream: a newer client may send it.
pub fn read(
    definition: &str,
    reader: Reader<'_>,
    into: &mut Map<String, Value>,
) -> Result<(), DecodeError> {
    read_as(definition, definition, reader, into)
}

/// The same for a message of another name that holds fields of the definition.
fn read_as(
    message: &str,
    definition: &str,
    mut reader: Reader<'_>,
    into: &mut Map<String, Value>,
) -> Result<(), DecodeError> {
    let numbers = numbers::of(message);
    let fields = shape::fields(definition);
    while let Some(field) = reader.field()? {
        match numbers.and_then(|numbers| numbers.get(&field.number)) {
            Some(Meaning::Embedded(inner)) => read_as(inner, definition, field.message()?, into)?,
            Some(Meaning::Field { name, zero_is_meant }) => {
                let Some(known) = fields.and_then(|fields| fields.get(*name)) else {
                    continue;
                };
                // A message may come in parts, a list and a map do: what is there is added to.
                let before = into.remove(*name);
                let value = value(&known.shape, &field, before)?;
                let is_unset = match known.shape.is_scalar() {
                    true => !zero_is_meant && is_zero(&value),
                    false => value.is_null(),
                };
                if !is_unset {
                    into.insert((*name).to_owned(), value);
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn is_zero(scalar: &Value) -> bool {
    match scalar {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn value(shape: &Shape, field: &Field<'_>, before: Option<Value>) -> Result<Value, DecodeError> {
    Ok(match shape {
        Shape::Struct(definition) => {
            let mut fields = object(before);
            read(definition, field.message()?, &mut fields)?;
            Value::Object(fields)
        }
        Shape::Map(values) => {
            let mut entries = object(before);
            let (key, value) = entry(values, field)?;
            entries.insert(key, value);
            Value::Object(entries)
        }
        Shape::List(items) => {
            let mut list = match before {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            };
            add(items, field, &mut list)?;
            Value::Array(list)
        }
        Shape::Text => field.text()?.into(),
        Shape::Bytes => STANDARD.encode(field.bytes()?).into(),
        Shape::Int32 => low_32_bits(field.varint()?).into(),
        Shape::Int64 => field.varint()?.cast_signed().into(),
        Shape::Boolean => (field.varint()? != 0).into(),
        Shape::Number => Number::from_f64(field.double()?)
            .ok_or_else(|| field.malformed("not a finite number"))?
            .into(),
        Shape::Time => time(field)?,
        Shape::IntOrString => int_or_string(field)?,
        Shape::Quantity => quantity(field)?.into(),
        Shape::Any => json(field)?,
    })
}

fn object(before: Option<Value>) -> Map<String, Value> {
    match before {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Adds an item to a list, or packed numbers.
fn add(items: &Shape, field: &Field<'_>, list: &mut Vec<Value>) -> Result<(), DecodeError> {
    if !matches!(items, Shape::Int32 | Shape::Int64) || !field.is_delimited() {
        list.push(value(items, field, None)?);
        return Ok(());
    }
    let mut packed = field.message()?;
    while !packed.is_empty() {
        let number = packed.varint()?;
        list.push(match items {
            Shape::Int32 => low_32_bits(number).into(),
            _ => number.cast_signed().into(),
        });
    }
    Ok(())
}

/// Negative numbers of 32 bits are on the wire with 64.
#[expect(clippy::cast_possible_truncation, reason = "the format says so")]
fn low_32_bits(number: u64) -> i32 {
    (number as u32).cast_signed()
}

/// A key and its value; either may be missing, and is empty then.
fn entry(values: &Shape, field: &Field<'_>) -> Result<(String, Value), DecodeError> {
    let mut key = String::new();
    let mut read = match values {
        Shape::Struct(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::Quantity => "0".into(),
        _ => "".into(),
    };
    let mut reader = field.message()?;
    while let Some(part) = reader.field()? {
        match part.number {
            1 => key = part.text()?.to_owned(),
            2 => read = value(values, &part, None)?,
            _ => {}
        }
    }
    Ok((key, read))
}

/// `Time` and `MicroTime`: seconds and nanoseconds. An empty message is no time.
fn time(field: &Field<'_>) -> Result<Value, DecodeError> {
    let mut reader = field.message()?;
    if reader.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    while let Some(part) = reader.field()? {
        match part.number {
            1 => seconds = part.varint()?.cast_signed(),
            2 => nanoseconds = low_32_bits(part.varint()?),
            _ => {}
        }
    }
    let kept_ns = nanoseconds - nanoseconds % MIN_TIME_NS;
    let time = Timestamp::new(seconds, kept_ns)
        .map_err(|error| field.malformed(&format!("no time: {error}")))?;
    Ok(time.to_string().into())
}

/// `IntOrString`: which of both, the number, the text.
fn int_or_string(field: &Field<'_>) -> Result<Value, DecodeError> {
    let (mut which, mut number, mut text) = (0, 0, "");
    let mut reader = field.message()?;
    while let Some(part) = reader.field()? {
        match part.number {
            1 => which = part.varint()?,
            2 => number = low_32_bits(part.varint()?),
            3 => text = part.text()?,
            _ => {}
        }
    }
    match which {
        0 => Ok(number.into()),
        1 => Ok(text.into()),
        other => Err(field.malformed(&format!("{other} is neither a number (0) nor text (1)"))),
    }
}

/// `Quantity`: its text.
fn quantity<'a>(field: &Field<'a>) -> Result<&'a str, DecodeError> {
    let mut text = "";
    let mut reader = field.message()?;
    while let Some(part) = reader.field()? {
        if part.number == 1 {
            text = part.text()?;
        }
    }
    Ok(if text.is_empty() { "0" } else { text })
}

/// `FieldsV1` and the like: JSON in bytes.
fn json(field: &Field<'_>) -> Result<Value, DecodeError> {
    let mut value = Value::Null;
    let mut reader = field.message()?;
    while let Some(part) = reader.field()? {
        if part.number == 1 && !part.bytes()?.is_empty() {
            value = serde_json::from_slice(part.bytes()?)
                .map_err(|error| part.malformed(&format!("not JSON: {error}")))?;
        }
    }
    Ok(value)
}
