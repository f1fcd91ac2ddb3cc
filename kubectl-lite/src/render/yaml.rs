//! YAML as kubectl prints it: sorted keys, lists not indented below their key,
//! quotes only where another reader would take a string for something else.
//! Never reads YAML.

use std::fmt::Write as _;

use serde_json::Value;

/// A document, without a leading `---`.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => array(&mut out, value, 0),
        _ => {
            scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn object(out: &mut String, value: &Value, depth: usize) {
    for (index, (key, value)) in value.as_object().into_iter().flatten().enumerate() {
        if index > 0 {
            indent(out, depth);
        }
        text(out, key, depth);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                indent(out, depth + 1);
                object(out, value, depth + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                indent(out, depth);
                array(out, value, depth);
            }
            _ => {
                out.push(' ');
                scalar(out, value, depth);
                out.push('\n');
            }
        }
    }
}

fn array(out: &mut String, value: &Value, depth: usize) {
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        if index > 0 {
            indent(out, depth);
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => object(out, value, depth + 1),
            Value::Array(items) if !items.is_empty() => array(out, value, depth + 1),
            _ => {
                scalar(out, value, depth);
                out.push('\n');
            }
        }
    }
}

fn scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(it) => text(out, it, depth),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn text(out: &mut String, text: &str, depth: usize) {
    let printable = text.chars().all(|it| !it.is_control() || it == '\n' || it == '\t');
    if text.contains('\n') && printable && !text.starts_with([' ', '\n']) && !text.contains(" \n") {
        return block(out, text, depth);
    }
    if !printable || text.contains('\n') {
        let _ = write!(out, "{}", Value::from(text));
        return;
    }
    if reads_as_other(text) {
        // Numbers and words with a meaning get double quotes, punctuation single ones.
        let _ = write!(out, "\"{text}\"");
    } else if needs_quotes(text) {
        let _ = write!(out, "'{}'", text.replace('\'', "''"));
    } else {
        out.push_str(text);
    }
}

fn block(out: &mut String, text: &str, depth: usize) {
    let trailing = text.len() - text.trim_end_matches('\n').len();
    out.push_str(match trailing {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth + 1);
            out.push_str(line);
        }
    }
}

/// Whether plain text would be read as a bool, null, number or time.
fn reads_as_other(text: &str) -> bool {
    const WORDS: [&str; 14] = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf",
        "-.inf",
    ];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let bare = lower.trim_start_matches(['+', '-']).replace('_', "");
    let starts = bare.starts_with(|it: char| it.is_ascii_digit() || it == '.');
    let radix = [("0x", 16), ("0b", 2), ("0o", 8)];
    let prefixed = radix.iter().any(|(prefix, radix)| {
        let digits = bare.strip_prefix(prefix);
        digits.is_some_and(|it| u64::from_str_radix(it, *radix).is_ok())
    });
    starts && (bare.parse::<f64>().is_ok() || prefixed || is_time(text))
}

/// `2026-11-21…`, which YAML 1.1 reads as a timestamp.
fn is_time(text: &str) -> bool {
    let date = text.get(..10).unwrap_or_default();
    date.parse::<jiff::civil::Date>().is_ok()
        && (text.len() == 10 || text.parse::<jiff::Timestamp>().is_ok())
}

fn needs_quotes(text: &str) -> bool {
    const STARTS: [char; 17] =
        [',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' '];
    text.starts_with(STARTS)
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.contains('\t')
        || (text.starts_with(['-', '?', ':']) && text[1..].starts_with(' '))
        || matches!(text, "-" | "?" | "=" | "<<")
        || text.starts_with("---")
        || text.starts_with("...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prints_as_kubectl_does() {
        let value = json!({
            "b": [{"x": 1, "y": ["p", 2]}, "z"], "a": {"e": {}, "l": [], "m": null},
            "port": "80", "yes": "true", "when": "2026-11-21T06:00:00Z", "text": "a: b",
            "star": "*", "lines": "one\ntwo\n", "cut": "one\ntwo", "ip": "10.0.0.1", "quote": "it's",
            "empty": "", "json": "{\"a\":1}\n",
        });
        let expected = "a:\n  e: {}\n  l: []\n  m: null\nb:\n- x: 1\n  \"y\":\n  - p\n  - 2\n- z\n\
            cut: |-\n  one\n  two\nempty: \"\"\nip: 10.0.0.1\njson: |\n  {\"a\":1}\n\
            lines: |\n  one\n  two\nport: \"80\"\nquote: it's\nstar: '*'\ntext: 'a: b'\n\
            when: \"2026-11-21T06:00:00Z\"\n\"yes\": \"true\"\n";
        assert_eq!(yaml(&value), expected);
    }
}
