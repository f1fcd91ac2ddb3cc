//! The server knows no kind by name: what it does for one and not for others, the kind says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Files that may name kinds, and why.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("bootstrap.rs", "makes the objects that every cluster has"),
    ("advertise.rs", "writes the endpoints of one of them"),
    ("request.rs", "a namespace is part of the form of a path"),
    ("registry/scale.rs", "the request of a subresource, which is no kind that is stored"),
];

/// What a source names of the kinds: a literal with the name of one, or a type of one.
fn found(source: &str, names: &BTreeSet<String>) -> Vec<String> {
    let (code, literals) = parts(source);
    let mut found: Vec<String> = Vec::new();
    for literal in literals {
        let words = literal.split(|c: char| !c.is_alphanumeric());
        let mut words = words.filter(|word| word.starts_with(char::is_uppercase));
        if names.contains(&literal) || words.any(|word| names.contains(word)) {
            found.push(format!("{literal:?}"));
        }
    }
    let code: String = code.split_whitespace().collect();
    for used in code.split("k8s_openapi::").skip(1) {
        let used = used.split(';').next().unwrap_or_default();
        if used.starts_with("api::") || used.contains("{api::") || used.contains(",api::") {
            found.push(format!("k8s_openapi::{used}"));
        }
    }
    found
}

/// Code without comments, literals and tests; and the literals.
fn parts(source: &str) -> (String, Vec<String>) {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut code, mut literals) = (String::new(), Vec::new());
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, from) = rest.split_at(at);
        code.push_str(before);
        if from.starts_with("//") {
            rest = from.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(text) = from.strip_prefix('"') {
            let mut escaped = false;
            let end = text.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let (literal, after) = text.split_at(end.unwrap_or(text.len()));
            literals.push(literal.to_owned());
            rest = after.strip_prefix('"').unwrap_or_default();
        } else {
            // A quote as a character is no literal's beginning.
            let skipped =
                if from.starts_with("'\"'") || from.starts_with("'\\\"'") { 3 } else { 1 };
            code.push_str(&from[..1]);
            rest = &from[skipped..];
        }
    }
    code.push_str(rest);
    (code, literals)
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, into),
            false => into.push(path),
        }
    }
}

fn names() -> BTreeSet<String> {
    let names = api::kinds::all().iter().map(|kind| kind.names());
    names.flat_map(|names| [names.kind.clone(), names.plural.clone()]).collect()
}

#[test]
fn no_file_names_a_kind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut named = Vec::new();
    let mut excepted = BTreeSet::new();
    for path in all {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let found = found(&fs::read_to_string(&path).unwrap(), &names());
        if EXCEPTIONS.iter().any(|(exception, _)| *exception == file) {
            assert!(!found.is_empty(), "{file} needs no exception any more");
            excepted.insert(file);
        } else {
            named.extend(found.into_iter().map(|what| format!("{file}: {what}")));
        }
    }
    assert!(named.is_empty(), "kinds are named in:\n{}", named.join("\n"));
    assert_eq!(excepted.len(), EXCEPTIONS.len());
}

#[test]
fn the_search_finds_what_it_is_for() {
    for (source, want) in [
        ("find(\"\", \"v1\", \"pods\")", vec!["\"pods\""]),
        ("if names.kind == \"Namespace\" {", vec!["\"Namespace\""]),
        ("json!({\"kind\": \"ServiceAccount\"})", vec!["\"ServiceAccount\""]),
        ("x(\"the \\\"Pod\\\" is\")", vec!["\"the \\\\\\\"Pod\\\\\\\" is\""]),
        (
            "use k8s_openapi::{\n    api::core::v1::Pod, x::Y,\n};",
            vec!["k8s_openapi::{api::core::v1::Pod,x::Y,}"],
        ),
        (
            "k8s_openapi::api::core::v1::Node::default();",
            vec!["k8s_openapi::api::core::v1::Node::default()"],
        ),
        ("// \"pods\" and Pod\nlet a = '\"'; let pods = x(\"expands\");", vec![]),
        ("use k8s_openapi::apimachinery::X;\nuse tower::Service;", vec![]),
    ] {
        assert_eq!(found(source, &names()), want, "{source}");
    }
}
