//! Objects from files, folders and standard input. Never sends one.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// Largest file that is read, in bytes: well beyond what the server takes for one object.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Suffixes of the files that are read from a folder.
const SUFFIXES: [&str; 3] = ["json", "yaml", "yml"];

/// An object and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// File name, or `STDIN`.
    pub source: String,
    /// The object, with `apiVersion` and `kind`.
    pub object: Value,
}

impl Manifest {
    /// The object's name; empty with `generateName`.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// Everything the `-f` arguments name. Bad documents are reported beside the good ones.
pub fn read(paths: &[PathBuf], recursive: bool) -> (Vec<Manifest>, Vec<Error>) {
    let (mut manifests, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        let texts = match texts(path, recursive) {
            Ok(texts) => texts,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for (source, text) in texts {
            for parsed in parse(&source, &text) {
                match parsed {
                    Ok(manifest) => manifests.push(manifest),
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    if manifests.is_empty() && errors.is_empty() {
        errors.push(Error::message("no objects passed to apply"));
    }
    (manifests, errors)
}

fn texts(path: &Path, recursive: bool) -> Result<Vec<(String, String)>> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_FILE_BYTES).read_to_string(&mut text);
        read.map_err(|error| Error::message(format!("cannot read standard input: {error}")))?;
        return Ok(vec![("STDIN".to_owned(), text)]);
    }
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::message(format!("the path \"{shown}\" does not exist"))
        }
        _ => Error::message(format!("the path \"{shown}\" cannot be accessed: {error}")),
    })?;
    if metadata.is_dir() {
        return folder(path, recursive);
    }
    if metadata.len() > MAX_FILE_BYTES {
        let most = MAX_FILE_BYTES / 1024 / 1024;
        return Err(Error::message(format!("\"{shown}\" is larger than {most} MiB")));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::message(format!("cannot read \"{shown}\": {error}")))?;
    Ok(vec![(shown.to_string(), text)])
}

fn folder(path: &Path, recursive: bool) -> Result<Vec<(String, String)>> {
    let failed = |error: std::io::Error| {
        Error::message(format!("cannot read the folder \"{}\": {error}", path.display()))
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let suffix = entry.extension().and_then(|it| it.to_str()).unwrap_or_default();
        if entry.is_dir() {
            if recursive {
                found.extend(folder(&entry, true)?);
            }
        } else if SUFFIXES.contains(&suffix) {
            found.extend(texts(&entry, false)?);
        }
    }
    Ok(found)
}

/// The documents of one text, YAML or JSON; lists are taken apart.
pub fn parse(source: &str, text: &str) -> Vec<Result<Manifest>> {
    let mut found = Vec::new();
    for (number, (first_line, document)) in documents(text).into_iter().enumerate() {
        match value(source, number + 1, first_line, document) {
            Ok(Value::Null) => {}
            Ok(object) => take_apart(source, number + 1, object, &mut found),
            Err(error) => found.push(Err(error)),
        }
    }
    found
}

/// Documents with the number of their first line, counted from 0.
fn documents(text: &str) -> Vec<(usize, &str)> {
    if text.trim_start().starts_with('{') {
        return vec![(0, text)];
    }
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (offset + line.len(), number + 1);
        }
        offset += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents
}

fn value(source: &str, number: usize, first_line: usize, document: &str) -> Result<Value> {
    if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let place =
        |line: usize, column: usize| format!("document {number}, line {line}, column {column}");
    if document.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(document)
    {
        return Ok(value);
    }
    if source.ends_with(".json") {
        let parsed: std::result::Result<Value, _> = serde_json::from_str(document);
        return parsed.map_err(|error| {
            let place = place(first_line + error.line(), error.column());
            Error::message(format!("error parsing {source}: {place}: {error}"))
        });
    }
    serde_saphyr::from_str(document).map_err(|error| {
        let place = error.location().map_or_else(
            || format!("document {number}"),
            |it| {
                place(
                    first_line + usize::try_from(it.line()).unwrap_or(0),
                    usize::try_from(it.column()).unwrap_or(0),
                )
            },
        );
        let text = error.without_snippet().to_string();
        // Its own place counts from the document's first line.
        let text = text.split(" at line ").next().unwrap_or_default();
        Error::message(format!("error parsing {source}: {place}: {text}"))
    })
}

fn take_apart(source: &str, number: usize, object: Value, found: &mut Vec<Result<Manifest>>) {
    let missing = |field: &str| {
        Err(Error::message(format!(
            "error validating {source:?}: document {number}: {field} not set"
        )))
    };
    if !object.is_object() {
        let text = format!("error parsing {source}: document {number} is no object");
        found.push(Err(Error::message(text)));
    } else if !object["kind"].is_string() {
        found.push(missing("kind"));
    } else if !object["apiVersion"].is_string() {
        found.push(missing("apiVersion"));
    } else if let Some(items) = object["items"].as_array()
        && object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
    {
        for item in items {
            take_apart(source, number, item.clone(), found);
        }
    } else {
        let source = source.to_owned();
        found.push(Ok(Manifest { source, object }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<String> {
        let parsed = parse("f.yaml", text).into_iter();
        parsed
            .map(|it| match it {
                Ok(manifest) => manifest.object["kind"].as_str().unwrap().to_owned(),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    #[test]
    fn documents_are_read_one_by_one() {
        let text = "# head\n---\napiVersion: v1\nkind: A\n---\n\n---\napiVersion: v1\nkind: List\n\
            items:\n- {apiVersion: v1, kind: B}\n- {apiVersion: v1, kind: C}\n";
        assert_eq!(kinds(text), ["A", "B", "C"]);
        assert_eq!(kinds("{\"apiVersion\": \"v1\", \"kind\": \"J\"}"), ["J"]);
    }

    #[test]
    fn a_bad_document_is_placed_and_the_others_are_read() {
        let found =
            kinds("apiVersion: v1\nkind: A\n---\nkind: B\nx: [1\n---\napiVersion: v1\nkind: C\n");
        assert_eq!((found.len(), found[0].as_str(), found[2].as_str()), (3, "A", "C"), "{found:?}");
        assert!(
            found[1].starts_with("error: error parsing f.yaml: document 2, line "),
            "{found:?}"
        );
        let unset = kinds("apiVersion: v1\nmetadata: {}\n");
        assert_eq!(unset, ["error: error validating \"f.yaml\": document 1: kind not set"]);
    }
}
