//! A body as a tree that keeps duplicate fields, from JSON or YAML.
//!
//! Never knows a kind.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::decode_error::DecodeError;

/// A parsed body. Fields are in the order of the text, duplicates too.
pub struct Document(Node);

enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Document {
    /// JSON, of which nothing may be left over.
    pub fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        let node = serde_json::from_slice(body)
            .map_err(|error| DecodeError::new(format!("the body is not JSON: {error}")))?;
        Ok(Self(node))
    }

    /// YAML, one document.
    pub fn from_yaml(body: &[u8]) -> Result<Self, DecodeError> {
        let options = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
            with_snippet: false,
            // As JSON has them: `on` and `no` are text.
            strict_booleans: true,
        };
        let node = serde_saphyr::from_slice_with_options(body, options)
            .map_err(|error| DecodeError::new(format!("the body is not YAML: {error}")))?;
        Ok(Self(node))
    }

    /// The tree, in which the last of duplicates counts; `issues` gets the duplicates.
    pub fn into_value(self, issues: &mut Vec<String>) -> Value {
        value(self.0, "", issues)
    }
}

fn value(node: Node, path: &str, issues: &mut Vec<String>) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| value(item, &format!("{path}[{index}]"), issues))
            .collect(),
        Node::Map(fields) => {
            let mut map = Map::new();
            for (key, node) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let value = value(node, &path, issues);
                if map.insert(key, value).is_some() {
                    let issue = format!("duplicate field \"{path}\"");
                    if !issues.contains(&issue) {
                        issues.push(issue);
                    }
                }
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        number
            .map(|n| Node::Scalar(Value::Number(n)))
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = fields.next_entry::<Node, Node>()? {
            let key = match key {
                Node::Scalar(Value::String(key)) => key,
                // YAML allows `80: x`; as JSON the key is text.
                Node::Scalar(other) => other.to_string(),
                _ => return Err(A::Error::custom("a key must be text")),
            };
            map.push((key, node));
        }
        Ok(Node::Map(map))
    }
}
