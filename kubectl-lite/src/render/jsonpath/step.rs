//! The steps of an expression, each a query of `jsonpath-rust`, and what kubectl refuses where RFC 9535
//! finds nothing: an index beyond the end, a slice of a map, a number compared with a string.

use jsonpath_rust::parser::model::{Comparable, Comparison, JpQuery, Literal, Segment, Selector};
use jsonpath_rust::query::state::State;
use jsonpath_rust::query::{Query as _, js_path_process};
use serde_json::Value;

use crate::render::go_text;

/// One step from the current values to the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Names, wildcards and descents to a name.
    Query(JpQuery),
    /// `..` before something else than a name: all that has parts.
    Descend,
    /// `[1]`, `[-3:]`, `[0:8:2]`.
    Slice(Slice),
    /// `[?(left operator right)]`, or `[?(left)]`.
    Filter(Vec<Step>, Option<(String, Vec<Step>)>),
    /// `['a','b']`, `[0,2]`.
    Union(Vec<Vec<Step>>),
    /// A quoted text, a number or a boolean.
    Literal(Value),
    /// A word that means nothing.
    Word(String),
}

/// Bounds as they were written; `single` is one index, and `end` the one after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub step: Option<i64>,
    pub single: bool,
}

type Found<'a> = Result<Vec<&'a Value>, String>;

/// What the steps lead to from these values.
pub fn walk<'a>(steps: &'a [Step], from: Vec<&'a Value>) -> Found<'a> {
    steps.iter().try_fold(from, |from, step| step.take(from))
}

fn query<'a>(query: &JpQuery, value: &'a Value) -> Found<'a> {
    let found = js_path_process(query, value).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|it| it.val()).collect())
}

impl Step {
    fn take<'a>(&'a self, from: Vec<&'a Value>) -> Found<'a> {
        let each = |take: &dyn Fn(&'a Value) -> Found<'a>| -> Found<'a> {
            let found: Result<Vec<_>, _> = from.iter().map(|value| take(value)).collect();
            Ok(found?.concat())
        };
        match self {
            Self::Query(path) => each(&|value| query(path, value)),
            Self::Descend => each(&descend),
            Self::Slice(slice) => slice.take(from),
            Self::Filter(left, test) => each(&|value| filter(left, test.as_ref(), value)),
            Self::Union(parts) => {
                let found: Result<Vec<_>, _> =
                    parts.iter().map(|part| walk(part, from.clone())).collect();
                Ok(found?.concat())
            }
            Self::Literal(Value::String(_)) => Ok(self.literal().collect()),
            Self::Literal(_) => each(&|_| Ok(self.literal().collect())),
            Self::Word(word) if word == "end" => Err("not in range, nothing to end".to_owned()),
            Self::Word(word) => Err(format!("unrecognized identifier {word}")),
        }
    }

    fn literal(&self) -> impl Iterator<Item = &Value> {
        let Self::Literal(value) = self else { return None.into_iter() };
        Some(value).into_iter()
    }
}

fn descend(value: &Value) -> Found<'_> {
    let below = Segment::Descendant(Box::new(Segment::Selector(Selector::Wildcard)));
    let mut found = vec![value];
    found.extend(query(&JpQuery::new(vec![below]), value)?);
    found.retain(|it| match it {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    });
    Ok(found)
}

impl Slice {
    fn take<'a>(&self, from: Vec<&'a Value>) -> Found<'a> {
        let mut found = Vec::new();
        for value in from {
            let Value::Array(items) = value else {
                if value.is_null() {
                    continue;
                }
                return Err(format!("{} is not array or slice", go_type(value)));
            };
            let Some((start, end)) = self.bounds(items.len())? else {
                // kubectl stops at the first empty slice.
                return Ok(found);
            };
            let slice = Selector::Slice(Some(start), Some(end), self.step);
            found.extend(query(&JpQuery::new(vec![Segment::Selector(slice)]), value)?);
        }
        Ok(found)
    }

    /// The bounds in a list of this length, none where they are the same.
    fn bounds(&self, length: usize) -> Result<Option<(i64, i64)>, String> {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let start = self.start.unwrap_or(0);
        let start = if start < 0 { start.saturating_add(length) } else { start };
        let end = self.end.unwrap_or(length);
        let from_end = end < 0 || (end == 0 && self.single);
        let end = if from_end { end.saturating_add(length) } else { end };
        let beyond =
            |index| Err(format!("array index out of bounds: index {index}, length {length}"));
        if start == end {
            return Ok(None);
        } else if !(0..length).contains(&start) {
            return beyond(start);
        } else if !(0..=length).contains(&end) {
            return beyond(end - 1);
        } else if start > end {
            return Err(format!("starting index {start} is greater than ending index {end}"));
        } else if self.step.is_some_and(|step| step < 1) {
            return Err("step must be > 0".to_owned());
        }
        Ok(Some((start, end)))
    }
}

fn filter<'a>(
    left: &'a [Step],
    test: Option<&'a (String, Vec<Step>)>,
    value: &'a Value,
) -> Found<'a> {
    let Value::Array(items) = value else {
        return Err(format!("{} is not array or slice and cannot be filtered", go_text(value)));
    };
    let mut found = Vec::new();
    for item in items {
        let left = walk(left, vec![item]);
        let passes = match test {
            // With kubectl, what cannot be looked for is there.
            None => left.map_or(true, |it| !it.is_empty()),
            Some((operator, right)) => match (single(left?)?, walk(right, vec![item])) {
                (Some(left), right) => match single(right?)? {
                    Some(right) => compare(operator, left, right)?,
                    None => false,
                },
                (None, _) => false,
            },
        };
        if passes {
            found.push(item);
        }
    }
    Ok(found)
}

fn single(found: Vec<&Value>) -> Result<Option<&Value>, String> {
    match found[..] {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        _ => Err("can only compare one element at a time".to_owned()),
    }
}

/// Compares values of one type: kubectl converts none, and orders no booleans.
fn compare(operator: &str, left: &Value, right: &Value) -> Result<bool, String> {
    let of = |value| {
        let literal = literal(value).ok_or("invalid type for comparison".to_owned())?;
        Ok::<_, String>((std::mem::discriminant(&literal), Comparable::Literal(literal)))
    };
    let comparison = |left, right| {
        let made = Comparison::try_new(operator, left, right);
        made.map_err(|_| format!("unrecognized filter operator {operator}"))
    };
    let ((left_type, left_literal), (right_type, right_literal)) = (of(left)?, of(right)?);
    let comparison = comparison(left_literal, right_literal)?;
    let equality = matches!(comparison, Comparison::Eq(..) | Comparison::Ne(..));
    if left_type != right_type {
        return Err("incompatible types for comparison".to_owned());
    } else if left.is_boolean() && !equality {
        return Err("invalid type for comparison".to_owned());
    }
    Ok(comparison.process(State::root(left)).ok_val() == Some(Value::Bool(true)))
}

fn literal(value: &Value) -> Option<Literal> {
    match value {
        Value::Bool(value) => Some(Literal::Bool(*value)),
        Value::String(text) => Some(Literal::String(text.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Some(Literal::Int(number)),
            None => number.as_f64().map(Literal::Float),
        },
        _ => None,
    }
}

/// What Go calls the type of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
