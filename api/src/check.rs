//! The list of violated rules while a validator goes through an object, and rules of many kinds.
//!
//! Never knows a kind.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};
use serde::Serialize;

use crate::{
    field::{FieldError, Path},
    names,
};

/// What is said of a changed field that may not change.
pub const IMMUTABLE: &str = "field is immutable";
/// Protocols of ports.
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Violated rules, in the order they were found.
#[derive(Debug, Default)]
pub struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    /// No rule violated yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The violated rules.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// Adds one violated rule.
    pub fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// Adds several.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// One `Invalid` for each reason.
    pub fn reasons(&mut self, path: &Path, value: &(impl Serialize + ?Sized), reasons: &[String]) {
        self.extend(reasons.iter().map(|reason| FieldError::invalid(path, value, reason)));
    }

    /// `Invalid` unless the condition holds.
    pub fn holds(
        &mut self,
        condition: bool,
        path: &Path,
        value: &(impl Serialize + ?Sized),
        detail: &str,
    ) {
        if !condition {
            self.push(FieldError::invalid(path, value, detail));
        }
    }

    /// `Forbidden` unless the condition holds.
    pub fn allowed(&mut self, condition: bool, path: &Path, detail: &str) {
        if !condition {
            self.push(FieldError::forbidden(path, detail));
        }
    }

    /// A text that must be there; true if it is.
    pub fn required(&mut self, path: &Path, text: &str, detail: &str) -> bool {
        if text.is_empty() {
            self.push(FieldError::required(path, detail));
        }
        !text.is_empty()
    }

    /// A text that must be there and keep a rule of `crate::names`.
    pub fn named(&mut self, path: &Path, text: &str, rule: fn(&str) -> Vec<String>) {
        if self.required(path, text, "") {
            self.reasons(path, text, &rule(text));
        }
    }

    /// A text that keeps a rule if it is there.
    pub fn named_if_set(&mut self, path: &Path, text: Option<&str>, rule: fn(&str) -> Vec<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.reasons(path, text, &rule(text));
        }
    }

    /// A text that must be one of a few.
    pub fn one_of(&mut self, path: &Path, text: &str, supported: &[&str]) {
        if text.is_empty() {
            self.push(FieldError::required(path, ""));
        } else if !supported.contains(&text) {
            self.push(FieldError::not_supported(path, text, supported));
        }
    }

    /// A number that must not be negative, if it is there.
    pub fn non_negative(&mut self, path: &Path, number: Option<i64>) {
        if let Some(number) = number {
            self.holds(number >= 0, path, &number, "must be greater than or equal to 0");
        }
    }

    /// A port number.
    pub fn port(&mut self, path: &Path, port: i32) {
        self.reasons(path, &port, &names::port_number(port));
    }

    /// A port by number or name.
    pub fn port_or_name(&mut self, path: &Path, port: &IntOrString) {
        match port {
            IntOrString::Int(number) => self.port(path, *number),
            IntOrString::String(name) => self.reasons(path, name, &names::port_name(name)),
        }
    }

    /// A field that a change must leave alone.
    pub fn immutable<T: PartialEq + Serialize + ?Sized>(&mut self, path: &Path, new: &T, old: &T) {
        self.holds(new == old, path, new, IMMUTABLE);
    }

    /// Label keys and values.
    pub fn labels(&mut self, path: &Path, labels: Option<&BTreeMap<String, String>>) {
        for (key, value) in labels.into_iter().flatten() {
            self.reasons(path, key, &names::qualified_name(key));
            self.reasons(path, value, &names::label_value(value));
        }
    }

    /// An IP address; `None` says it is not one.
    pub fn ip(&mut self, path: &Path, text: &str) -> Option<IpAddr> {
        let parsed = text.parse().ok();
        self.holds(
            parsed.is_some(),
            path,
            text,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
        parsed
    }

    /// An address that packets can be sent to: not loopback, link-local and such.
    pub fn endpoint_ip(&mut self, path: &Path, text: &str) {
        let Some(ip) = self.ip(path, text) else {
            return;
        };
        let reason = match ip {
            ip if ip.is_unspecified() => Some(format!("may not be unspecified ({ip})")),
            ip if ip.is_loopback() => {
                Some("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned())
            }
            ip if is_link_local(ip) => {
                Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned())
            }
            ip if is_link_local_multicast(ip) => Some(
                "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
            ),
            _ => None,
        };
        self.reasons(path, text, reason.as_slice());
    }

    /// A label selector: its labels, and operators with the values they take.
    pub fn label_selector(&mut self, path: &Path, selector: &LabelSelector) {
        self.labels(&path.child("matchLabels"), selector.match_labels.as_ref());
        let path = path.child("matchExpressions");
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let path = path.index(index);
            let values = expression.values.as_deref().unwrap_or_default();
            match expression.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => self.push(FieldError::required(
                    &path.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                )),
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    self.push(FieldError::forbidden(
                        &path.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ))
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => self.push(FieldError::invalid(
                    &path.child("operator"),
                    other,
                    "not a valid selector operator",
                )),
            }
            self.reasons(
                &path.child("key"),
                &expression.key,
                &names::qualified_name(&expression.key),
            );
            for (index, value) in values.iter().enumerate() {
                let path = path.child("values").index(index);
                self.reasons(&path, value, &names::label_value(value));
            }
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip & Ipv4Addr::new(255, 255, 255, 0) == Ipv4Addr::new(224, 0, 0, 0),
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}
