//! Pod templates: when two are the same, and the hash that tells their ReplicaSets apart.
//!
//! Never needs the hash to be upstream's: ReplicaSets are found by comparing templates.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// Label with the hash of the template, on ReplicaSets and their pods.
pub const LABEL_TEMPLATE_HASH: &str = "pod-template-hash";
/// Letters of a hash: no vowels, so that no word comes out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates describe the same pods, the hash label aside.
pub fn equal(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    normal(a) == normal(b)
}

/// A template without its hash label, and without fields that are present but empty.
fn normal(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(LABEL_TEMPLATE_HASH);
    }
    let mut value = serde_json::to_value(&template).unwrap_or_default();
    drop_empty(&mut value);
    value
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|_, field| match field {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                // An empty object can say something (`emptyDir: {}`), but `metadata: {}` does not.
                _ => true,
            });
            if fields
                .get("metadata")
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty)
            {
                fields.remove("metadata");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// FNV-1a of the template; the collision count makes another hash of the same template.
pub fn hash(template: &PodTemplateSpec, collision_count: i32) -> String {
    let mut bytes = normal(template).to_string().into_bytes();
    if collision_count > 0 {
        bytes.extend(collision_count.to_le_bytes());
    }
    let sum = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    sum.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}
