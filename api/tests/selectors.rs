//! Selectors as tables: text, labels or fields, and whether they match.
//!
//! Never looks at how a selector is kept.

use std::collections::BTreeMap;

use api::selector::{FieldSelector, Selector};

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Lines `selector | labels that match | labels that do not`; several sets by `;`.
#[track_caller]
fn check(selector: &str, matching: &[&str], other: &[&str]) {
    let parsed = Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    for text in matching {
        assert!(parsed.matches(Some(&labels(text))), "{selector} matches {text}");
    }
    for text in other {
        assert!(!parsed.matches(Some(&labels(text))), "{selector} does not match {text}");
    }
    // The printed form selects the same.
    assert_eq!(Selector::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
}

#[test]
fn label_selectors() {
    check("", &["", "a=b"], &[]);
    check("a=b", &["a=b", "a=b c=d"], &["", "a=c"]);
    check("a == b , c!=d", &["a=b", "a=b c=e"], &["a=b c=d"]);
    check("a!=b", &["", "a=c"], &["a=b"]);
    check("a in (x, y),b notin (z)", &["a=x", "a=y b=w"], &["a=z", "a=x b=z", ""]);
    check("a,!b", &["a=", "a=x"], &["", "a=x b=y"]);
    check("a in (,x)", &["a=", "a=x"], &["a=y"]);
    check("a=", &["a="], &["a=x", ""]);
    check("a>5,a<10", &["a=6"], &["a=5", "a=10", "a=x", ""]);
    check("example.com/a=b", &["example.com/a=b"], &["a=b"]);
}

#[test]
fn broken_label_selectors() {
    for (selector, expected) in [
        ("a b", "found 'b', expected: in, notin, =, ==, !=, > or <"),
        ("a in x", "found 'x', expected: '('"),
        ("a in (x", "expected: ',' or ')'"),
        ("a=b,", "expected: a label key"),
        (",", "found ',', expected: a label key"),
        ("a=(", "found '(', expected: a label value"),
        ("a=b c", "found 'c', expected: ',' or the end"),
        ("-a=b", "key: Invalid value: \"-a\""),
        ("a=-b", "Invalid value: \"-b\""),
        ("a>x", "must be an integer"),
    ] {
        let error = Selector::parse(selector).expect_err(selector).to_string();
        assert!(error.contains(expected), "{selector}: {error}");
    }
}

#[track_caller]
fn check_fields(selector: &str, fields: &[(&'static str, &str)], expected: bool) {
    let parsed = FieldSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    assert_eq!(parsed.matches(&fields), expected, "{selector}");
}

#[test]
fn field_selectors() {
    check_fields("", &[], true);
    check_fields("metadata.name=web", &[("metadata.name", "web")], true);
    check_fields("metadata.name==web,status.phase!=Running", &[("metadata.name", "web")], true);
    check_fields("status.phase!=Running", &[("status.phase", "Running")], false);
    check_fields("spec.nodeName=", &[("spec.nodeName", "")], true);
    check_fields(r"metadata.name=a\,b\=c\\", &[("metadata.name", r"a,b=c\")], true);
    for broken in ["web", "a=b=c", r"a=\x"] {
        assert!(FieldSelector::parse(broken).is_err(), "{broken}");
    }
    let parsed = FieldSelector::parse("metadata.name=web,spec.foo=x").expect("a selector");
    assert_eq!(parsed.required("metadata.name"), Some("web"));
    let error = parsed.check("pods", &["metadata.name"]).expect_err("an unknown field");
    assert_eq!(
        error.to_string(),
        "field label not supported: \"spec.foo\"; pods can be selected by: metadata.name"
    );
}
