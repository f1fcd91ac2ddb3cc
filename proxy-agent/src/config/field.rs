//! Fields read one by one from a tree, each named by its path when it is wrong. Never
//! knows which fields there are: what nobody asked for is reported at the end.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};

/// What is said about a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Each makes the configuration unusable; `path: what is wrong`.
    pub errors: Vec<String>,
    /// Each is without effect, or has another one than asked for.
    pub warnings: Vec<String>,
}

/// One mapping of the tree.
pub struct Fields<'a> {
    path: String,
    fields: Map<String, Value>,
    report: &'a RefCell<Report>,
}

impl<'a> Fields<'a> {
    /// The whole tree.
    pub fn root(fields: Map<String, Value>, report: &'a RefCell<Report>) -> Fields<'a> {
        Fields { path: String::new(), fields, report }
    }

    /// A field's path from the root.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Says that a field cannot be used.
    pub fn error(&self, name: &str, what: impl Display) {
        let text = format!("{}: {what}", self.path_of(name));
        self.report.borrow_mut().errors.push(text);
    }

    /// Says that a field has no effect, or another one.
    pub fn warn(&self, name: &str, what: impl Display) {
        let text = format!("{}: {what}", self.path_of(name));
        self.report.borrow_mut().warnings.push(text);
    }

    /// Whether the field is there, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Null counts as absent, as it does for upstream.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str, value: &Value) {
        self.error(name, format_args!("must be {expected}, is {value}"));
    }

    /// A text that is not empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            value => {
                self.wrong(name, "a text", &value);
                None
            }
        }
    }

    /// A text that `parse` understands; `expected` says what it would.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong(name, expected, &Value::String(text));
        }
        parsed
    }

    /// True or false.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            value => {
                self.wrong(name, "true or false", &value);
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub fn integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let value = self.take(name)?;
        let number = value.as_i64().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.wrong(name, &format!("a whole number from {least} to {most}"), &value);
        }
        number
    }

    /// A duration such as `1m30s`, not negative; zero counts as absent, as for upstream.
    pub fn duration(&mut self, name: &str) -> Option<Duration> {
        let value = self.take(name)?;
        let duration = value.as_str().and_then(duration::parse);
        if duration.is_none() {
            self.wrong(name, "a duration such as 30s or 1m30s", &value);
        }
        duration.filter(|duration| !duration.is_zero())
    }

    /// Texts.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.take(name) else {
            return Vec::new();
        };
        let texts = value.as_array().and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        texts.unwrap_or_else(|| {
            self.wrong(name, "a list of texts", &value);
            Vec::new()
        })
    }

    /// The mapping in a field; an empty one where there is none.
    pub fn section(&mut self, name: &str) -> Fields<'a> {
        let path = self.path_of(name);
        let fields = match self.take(name) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(value) => {
                self.wrong(name, "a mapping", &value);
                Map::new()
            }
        };
        Fields { path, fields, report: self.report }
    }

    /// Fields without effect here; said only of those that ask for something.
    pub fn without_effect(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.take(name)
                && asks_for_something(&value)
            {
                self.warn(name, "has no effect in this proxy");
            }
        }
    }

    /// What is left was asked for by nobody.
    pub fn finish(self) {
        for name in self.fields.keys() {
            self.warn(name, "unknown field, ignored");
        }
    }
}

/// Whether a value is another one than the type's zero.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => {
            !text.is_empty() && text != "0" && duration::parse(text) != Some(Duration::ZERO)
        }
        Value::Array(items) => items.iter().any(asks_for_something),
        Value::Object(fields) => fields.values().any(asks_for_something),
    }
}
