//! What counts as a name, label or port: each rule gives the reasons why a text breaks it.
//!
//! Never knows which field it looks at.

/// Longest RFC 1123 or 1035 label, in bytes.
pub const LABEL_BYTES: usize = 63;
/// Longest RFC 1123 subdomain, in bytes.
pub const SUBDOMAIN_BYTES: usize = 253;
/// Longest port name, in bytes.
const PORT_NAME_BYTES: usize = 15;

fn too_long(max_bytes: usize) -> String {
    format!("must be no more than {max_bytes} bytes")
}

/// RFC 1123 label.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > LABEL_BYTES {
        reasons.push(too_long(LABEL_BYTES));
    }
    if !is_label(text) {
        reasons.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
             regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    reasons
}

/// RFC 1123 subdomain: labels with dots between them.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > SUBDOMAIN_BYTES {
        reasons.push(too_long(SUBDOMAIN_BYTES));
    }
    if !text.split('.').all(is_label) {
        reasons.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
             or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
             regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    reasons
}

/// RFC 1035 label: starts with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > LABEL_BYTES {
        reasons.push(too_long(LABEL_BYTES));
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        reasons.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
             an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
             'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    reasons
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The characters of label values and of the last part of label keys, in any non-zero number.
fn is_label_text(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(inner) && text.starts_with(edge) && text.ends_with(edge)
}

const LABEL_TEXT_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must \
     start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
     regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// A label or annotation key: `name`, or `example.com/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                reasons.push("prefix part must be non-empty".to_owned());
            } else {
                let found = dns1123_subdomain(prefix);
                reasons.extend(found.iter().map(|reason| format!("prefix part {reason}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {LABEL_TEXT_RULE} with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        reasons.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES {
        reasons.push(format!("name part {}", too_long(LABEL_BYTES)));
    }
    if !is_label_text(name) {
        reasons.push(format!("name part {LABEL_TEXT_RULE}"));
    }
    reasons
}

/// A label's value; may be empty.
pub fn label_value(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > LABEL_BYTES {
        reasons.push(too_long(LABEL_BYTES));
    }
    if !text.is_empty() && !is_label_text(text) {
        reasons.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
             or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    reasons
}

/// A port number.
pub fn port_number(port: i32) -> Vec<String> {
    if (1..=65_535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// A container port's name, which a Service's `targetPort` can use.
pub fn port_name(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > PORT_NAME_BYTES {
        reasons.push(format!("must be no more than {PORT_NAME_BYTES} characters"));
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.chars().all(inner) || text.is_empty() {
        reasons.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.contains(|c: char| c.is_ascii_lowercase()) {
        reasons.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        reasons.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        reasons.push("must not begin or end with a hyphen".to_owned());
    }
    reasons
}

/// A key of a ConfigMap or Secret: also a file name.
pub fn config_key(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if text.len() > SUBDOMAIN_BYTES {
        reasons.push(too_long(SUBDOMAIN_BYTES));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(inner) {
        reasons.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
             'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
             '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    if text == "." {
        reasons.push("must not be '.'".to_owned());
    } else if text == ".." {
        reasons.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        reasons.push("must not start with '..'".to_owned());
    }
    reasons
}

/// An environment variable's name.
pub fn variable_name(text: &str) -> Vec<String> {
    let inner = |c: char| (' '..='~').contains(&c) && c != '=';
    if !text.is_empty() && text.chars().all(inner) {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .to_owned(),
    ]
}
