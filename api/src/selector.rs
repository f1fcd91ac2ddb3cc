//! Label selectors and field selectors: from text or objects to matchers.
//!
//! Never knows a kind; which fields can be selected is the caller's list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::names;

mod text;

/// Why a text or object is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    /// For people.
    pub message: String,
}

impl SelectorError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key!=value`
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// Checks that key, operator and values go together.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let values: BTreeSet<String> = values.into_iter().collect();
        if let Some(reason) = names::qualified_name(key).first() {
            return Err(SelectorError::new(format!("key: Invalid value: \"{key}\": {reason}")));
        }
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err(SelectorError::new(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return Err(SelectorError::new(
                    "values: Invalid value: values set must be empty for exists and does not exist",
                ));
            }
            Operator::GreaterThan | Operator::LessThan
                if values.iter().any(|value| value.parse::<i64>().is_err()) =>
            {
                return Err(SelectorError::new(
                    "values[0]: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer",
                ));
            }
            _ => {}
        }
        for value in &values {
            if let Some(reason) = names::label_value(value).first() {
                let at = format!("values[0][{key}]");
                return Err(SelectorError::new(format!(
                    "{at}: Invalid value: \"{value}\": {reason}"
                )));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotEquals | Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |value, bound| value > bound),
            Operator::LessThan => self.compares(value, |value, bound| value < bound),
        }
    }

    fn compares(&self, value: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let value = value.and_then(|value| value.parse().ok());
        let bound = self.values.first().and_then(|bound| bound.parse().ok());
        value.zip(bound).is_some_and(|(value, bound)| holds(value, bound))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Equals => write!(f, "{key}={}", list()),
            Operator::NotEquals => write!(f, "{key}!={}", list()),
            Operator::In => write!(f, "{key} in ({})", list()),
            Operator::NotIn => write!(f, "{key} notin ({})", list()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", list()),
            Operator::LessThan => write!(f, "{key}<{}", list()),
        }
    }
}

/// Conditions on labels, all of which must hold. None at all match everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Parses the text form: `a=b,c!=d,e in (f,g),h,!i`. Empty text matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self::of(text::parse(text)?))
    }

    /// `matchLabels` and `matchExpressions`. An empty one matches everything.
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let labels = selector.match_labels.iter().flatten();
        let mut requirements = labels
            .map(|(key, value)| Requirement::new(key, Operator::Equals, [value.clone()]))
            .collect::<Result<Vec<_>, _>>()?;
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let message = format!("\"{other}\" is not a valid label selector operator");
                    return Err(SelectorError::new(message));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_with(|key| Some(labels?.get(key)?.as_str()))
    }

    /// The same for labels in any form: `label` gives the value of a key.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether it has no condition, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

/// Conditions on fields: `metadata.name=web,status.phase!=Running`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One condition of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// Path such as `spec.nodeName`.
    pub field: String,
    /// The value compared with.
    pub value: String,
    /// `=` rather than `!=`.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses `a=b,c!=d`; `==` is `=`; `\` escapes `,`, `=` and itself in values.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { terms: text::parse_fields(text)? })
    }

    /// The conditions, in the order of the text.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The value that a field must have, where the selector says so: lets a reader of
    /// `metadata.name=x` go straight to the object.
    pub fn required(&self, field: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.equal && term.field == field);
        term.map(|term| term.value.as_str())
    }

    /// Refuses fields that the kind cannot select by.
    pub fn check(&self, kind: &str, allowed: &[&str]) -> Result<(), SelectorError> {
        match self.terms.iter().find(|term| !allowed.contains(&term.field.as_str())) {
            None => Ok(()),
            Some(term) => Err(SelectorError::new(format!(
                "field label not supported: \"{}\"; {kind} can be selected by: {}",
                term.field,
                allowed.join(", ")
            ))),
        }
    }

    /// Whether an object with these fields (see `Kind::fields`) is selected. A field that
    /// the object lacks counts as empty.
    pub fn matches(&self, fields: &[(&'static str, String)]) -> bool {
        self.terms.iter().all(|term| {
            let value = fields.iter().find(|(name, _)| *name == term.field);
            let value = value.map_or("", |(_, value)| value.as_str());
            (value == term.value) == term.equal
        })
    }

    /// Whether it has no condition.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}
