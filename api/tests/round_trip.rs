//! Objects of every kind, made up from the kinds' own schemas, survive being stored and read.
//!
//! Never lists a field: a new kind is covered as soon as it is in the list of kinds.

use api::{
    decode, kinds,
    shape::{self, Shape},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Deepest nesting of made-up objects: enough to reach a container's probes.
const MAX_DEPTH: u32 = 7;

/// A source of choices: the bytes that the property runs on, over and over.
struct Choices<'a> {
    bytes: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Choices<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        self.bytes.next().map_or(0, |byte| byte % bound)
    }
}

fn made_up(shape: &Shape, depth: u32, choices: &mut Choices<'_>) -> Value {
    match shape {
        Shape::Struct(definition) => {
            let mut fields = Map::new();
            for (name, field) in shape::fields(definition).expect("a definition") {
                let always = match name.as_str() {
                    "metadata" | "spec" | "status" => depth == 0,
                    // A condition has no use without it, and the Rust type no default.
                    "lastTransitionTime" => true,
                    _ => false,
                };
                if always || depth < MAX_DEPTH && choices.below(4) == 0 {
                    fields.insert(name.clone(), made_up(&field.shape, depth + 1, choices));
                }
            }
            Value::Object(fields)
        }
        Shape::Map(values) => json!({"k": made_up(values, depth + 1, choices)}),
        Shape::List(items) => {
            (0..choices.below(3)).map(|_| made_up(items, depth + 1, choices)).collect()
        }
        Shape::Text => json!(["", "a", "ä\u{1F980}", "a b\n"][usize::from(choices.below(4))]),
        Shape::Time => json!("2026-01-02T03:04:05Z"),
        Shape::Bytes => json!("aGk="),
        Shape::Int32 => json!(i32::from(choices.below(200)) - 100),
        Shape::Int64 => json!(i64::from(choices.below(200)) << 40),
        Shape::Number => json!(0.5),
        Shape::Boolean => json!(choices.below(2) == 0),
        Shape::IntOrString if choices.below(2) == 0 => json!(80),
        Shape::IntOrString => json!("web"),
        Shape::Quantity => json!("500m"),
        Shape::Any => json!({"f:a": {}}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        // A failing case belongs into a table of its own, not into a file of seeds.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_stored_reads_back_the_same(bytes in proptest::collection::vec(any::<u8>(), 16..256)) {
        for kind in kinds::all() {
            let mut choices = Choices { bytes: bytes.iter().cycle() };
            let shape = Shape::Struct(kind.definition().to_owned());
            let mut value = made_up(&shape, 0, &mut choices);
            let fields = value.as_object_mut().expect("an object");
            fields.remove("apiVersion");
            fields.remove("kind");
            let decoded = decode::from_value(&**kind, value.clone())
                .unwrap_or_else(|error| panic!("{error}: {value}"));
            prop_assert!(decoded.issues.is_empty(), "{:?}", decoded.issues);
            let stored = decoded.object.to_json();
            let read = kind.decode(&stored).expect("what was stored");
            prop_assert!(read.equals(&*decoded.object));
            prop_assert_eq!(read.to_json(), stored);
        }
    }

    #[test]
    fn a_text_decodes_as_its_tree_does(
        bytes in proptest::collection::vec(any::<u8>(), 16..256),
        place in any::<prop::sample::Index>(),
        change in 0..7_usize,
    ) {
        for kind in kinds::all() {
            let mut choices = Choices { bytes: bytes.iter().cycle() };
            let shape = Shape::Struct(kind.definition().to_owned());
            let mut text = made_up(&shape, 0, &mut choices).to_string();
            text = text.replace(r#""apiVersion":"","#, "").replace(r#""kind":"","#, "");
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = *place.get(&places);
            let one_key = text.find("\"metadata\":{").map(|at| at + 12);
            match (change, one_key) {
                (0, _) => {}
                (1, _) => drop(text.remove(at)),
                (2, _) => text.insert(at, '1'),
                (3, _) => text.insert(at, 'x'),
                (4, Some(at)) => text.insert_str(at, r#""name":"a","name":"b","#),
                (5, Some(at)) => text.insert_str(at, r#""nome":"a","#),
                (_, _) => text = text.replace("true", "null"),
            }
            let direct = decode::decode(&**kind, text.as_bytes(), decode::Format::Json);
            let direct = direct.map(|decoded| (decoded.object.to_json(), decoded.issues));
            let tree = decode::parse(text.as_bytes(), decode::Format::Json);
            let tree = tree.and_then(|(value, mut issues)| {
                let decoded = decode::from_value(&**kind, value)?;
                issues.extend(decoded.issues);
                Ok((decoded.object.to_json(), issues))
            });
            prop_assert_eq!(direct, tree, "{}", text);
        }
    }

    #[test]
    fn no_body_makes_a_rule_panic(bytes in proptest::collection::vec(any::<u8>(), 16..256)) {
        for kind in kinds::all() {
            let mut choices = Choices { bytes: bytes.iter().cycle() };
            let shape = Shape::Struct(kind.definition().to_owned());
            let mut value = made_up(&shape, 0, &mut choices);
            let fields = value.as_object_mut().expect("an object");
            fields.remove("apiVersion");
            fields.remove("kind");
            let old = decode::from_value(&**kind, json!({})).expect("an empty object").object;
            let mut object = decode::from_value(&**kind, value).expect("an object").object;
            kind.default(&mut *object);
            kind.prepare_create(&mut *object);
            kind.prepare_update(&mut *object, &*old);
            kind.prepare_status_update(&mut *object, &*old);
            kind.validate(&*object);
            kind.validate_update(&*object, &*old);
            let row = kind.row(&*object, jiff::Timestamp::UNIX_EPOCH);
            prop_assert_eq!(row.len(), kind.columns().len());
            let known = kind.field_names();
            prop_assert!(kind.fields(&*object).iter().all(|(name, _)| known.contains(name)));
        }
    }
}
