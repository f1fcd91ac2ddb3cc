//! Whether a JSON body is plain: of one kind's fields only, none of them twice. Nearly every
//! body is, and is decoded from its text as it stands; what is odd about the others,
//! `crate::decode` finds out over a tree, and tells.
//!
//! One pass that keeps nothing: it allocates only for the keys of maps. It may call a plain
//! body odd, but no odd one plain.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::{
    kind::Kind,
    shape::{self, Shape},
};

/// What may stand somewhere.
#[derive(Debug, Clone)]
enum Expected {
    /// The fields of a definition: its place among [`Table::structs`].
    Struct(usize),
    /// Any keys.
    Map(Box<Expected>),
    List(Box<Expected>),
    /// Text, a number, a truth: whether it is the right one, decoding tells.
    Scalar,
    Any,
}

/// Fields by name, sorted.
type Fields = Vec<(&'static str, Expected)>;

/// Every definition, with places instead of names.
#[derive(Default)]
struct Table {
    places: HashMap<&'static str, usize>,
    structs: Vec<Fields>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    for (place, (name, _)) in shape::definitions().iter().enumerate() {
        table.places.insert(name, place);
    }
    for fields in shape::definitions().values() {
        let fields = fields.iter().map(|(name, field)| (&**name, table.expected(&field.shape)));
        let fields = fields.collect();
        table.structs.push(fields);
    }
    table
});

impl Table {
    fn expected(&self, shape: &Shape) -> Expected {
        match shape {
            Shape::Struct(name) => {
                self.places.get(&**name).map_or(Expected::Any, |place| Expected::Struct(*place))
            }
            Shape::Map(values) => Expected::Map(Box::new(self.expected(values))),
            Shape::List(items) => Expected::List(Box::new(self.expected(items))),
            Shape::Any => Expected::Any,
            _ => Expected::Scalar,
        }
    }
}

/// Most fields of a definition: each is a bit.
const FIELDS_MAX: usize = u128::BITS as usize;

/// Whether a body is plain.
pub fn is_plain(kind: &dyn Kind, body: &[u8]) -> bool {
    let Some(place) = TABLE.places.get(kind.definition()) else {
        return false;
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = Object { fields: &TABLE.structs[*place], kind: Some(kind) };
    deserializer.deserialize_map(object).is_ok() && deserializer.end().is_ok()
}

/// Checks one value.
#[derive(Clone, Copy)]
struct Check(&'static Expected);

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn odd<E: Error>() -> E {
    E::custom("not plain")
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = match self.0 {
            Expected::List(item) => item,
            Expected::Any => self.0,
            _ => return Err(odd()),
        };
        while items.next_element_seed(Check(item))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let values = match self.0 {
            Expected::Struct(place) => {
                return Object { fields: &TABLE.structs[*place], kind: None }.visit_map(fields);
            }
            Expected::Map(values) => values,
            Expected::Any => self.0,
            _ => return Err(odd()),
        };
        let mut keys = Vec::new();
        while let Some(key) = fields.next_key_seed(Key(hash))? {
            keys.push(key);
            fields.next_value_seed(Check(values))?;
        }
        keys.sort_unstable();
        // Two keys of one hash are taken for one: that is looked into over a tree.
        if keys.windows(2).any(|pair| pair[0] == pair[1]) { Err(odd()) } else { Ok(()) }
    }
}

/// Checks the fields of a definition.
#[derive(Clone, Copy)]
struct Object<'a> {
    fields: &'static Fields,
    /// Of the whole body: `apiVersion` and `kind` must be this kind's.
    kind: Option<&'a dyn Kind>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let place = |key: &str| self.fields.binary_search_by(|(name, _)| (*name).cmp(key)).ok();
        let mut seen = 0_u128;
        while let Some(found) = fields.next_key_seed(Key(place))? {
            let Some(place) = found.filter(|place| *place < FIELDS_MAX) else {
                return Err(odd());
            };
            if seen & (1 << place) != 0 {
                return Err(odd());
            }
            seen |= 1 << place;
            let (name, expected) = &self.fields[place];
            match (self.kind.map(Kind::names), *name) {
                (Some(names), "kind") => fields.next_value_seed(Same(&names.kind))?,
                (Some(names), "apiVersion") => {
                    fields.next_value_seed(Same(&names.api_version()))?;
                }
                _ => fields.next_value_seed(Check(expected))?,
            }
        }
        Ok(())
    }
}

/// Passes a key's text on to a function.
struct Key<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// Takes this text and no other.
struct Same<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let same = deserializer.deserialize_str(Key(|text: &str| text == self.0))?;
        if same { Ok(()) } else { Err(odd()) }
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
