//! The fields and types of every definition, compiled from its schema for fast walks over objects.
//!
//! Never holds descriptions.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use crate::{facts, facts::Facts, openapi};

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// An object with named fields: the name of its definition.
    Struct(String),
    /// An object with any keys.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>),
    /// Text.
    Text,
    /// RFC 3339 time.
    Time,
    /// Base64 text.
    Bytes,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number, or text.
    IntOrString,
    /// A number, or text such as `500m`.
    Quantity,
    /// Anything.
    Any,
}

impl Shape {
    /// Whether it is one text, number or truth, with no structure that JSON does not show.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Text | Self::Bytes | Self::Int32 | Self::Int64 | Self::Number | Self::Boolean
        )
    }
}

/// A field of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub shape: Shape,
    /// How it merges, where something is known.
    pub facts: Option<&'static Facts>,
}

/// The fields of a definition, by name.
pub type Fields = BTreeMap<String, Field>;

static DEFINITIONS: LazyLock<BTreeMap<String, Fields>> = LazyLock::new(|| {
    let structs = openapi::schemas().iter().filter_map(|(name, schema)| {
        let properties = schema.get("properties")?.as_object()?;
        let fields = properties.iter().map(|(field, schema)| {
            let facts = facts::of_field(name, field);
            (field.clone(), Field { shape: shape(schema), facts })
        });
        Some((name.clone(), fields.collect()))
    });
    structs.collect()
});

/// Every definition, by name.
pub fn definitions() -> &'static BTreeMap<String, Fields> {
    &DEFINITIONS
}

/// The fields of a definition.
pub fn fields(definition: &str) -> Option<&'static Fields> {
    DEFINITIONS.get(definition)
}

/// The type that a schema describes.
fn shape(schema: &Value) -> Shape {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let name = openapi::referred(reference);
        let definition = openapi::schemas().get(name).unwrap_or(&Value::Null);
        return match definition.get("properties") {
            Some(_) => Shape::Struct(name.to_owned()),
            None if name.ends_with(".Quantity") => Shape::Quantity,
            None if name.ends_with(".IntOrString") => Shape::IntOrString,
            None => shape(definition),
        };
    }
    let format = schema.get("format").and_then(Value::as_str);
    match (schema.get("type").and_then(Value::as_str), format) {
        (Some("string"), Some("date-time")) => Shape::Time,
        (Some("string"), Some("byte")) => Shape::Bytes,
        (Some("string"), _) => Shape::Text,
        (Some("integer"), Some("int32")) => Shape::Int32,
        (Some("integer"), _) => Shape::Int64,
        (Some("number"), _) => Shape::Number,
        (Some("boolean"), _) => Shape::Boolean,
        (Some("array"), _) => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, shape))),
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(values) => Shape::Map(Box::new(shape(values))),
            None => Shape::Any,
        },
        _ => Shape::Any,
    }
}
