//! The style rules of CONTRIBUTING.md as tests: imports, sizes, heads, names.
//!
//! Never looks at what the code does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use syn::{spanned::Spanned, visit::Visit};

/// No file is longer, tests and benches included.
const MAX_FILE_LINES: usize = 800;
/// Of the files of one crate's `src`, at most one in twenty may be longer.
const LONG_FILE_LINES: usize = 500;
/// No function is longer.
const MAX_FUNCTION_LINES: usize = 70;

/// Which workspace crates a crate may import (dev-dependencies included).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Says which features the dependencies have; everything depends on it.
    ("features", &[]),
    ("proto", &[]),
    ("api", &["proto"]),
    ("store", &[]),
    ("apiserver", &["api", "client", "proto", "store"]),
    // What components share: the client, following objects, queueing keys.
    ("client", &["api"]),
    ("endpoints-controller", &["api", "client", "proto"]),
    ("controller-manager", &["api", "client", "proto"]),
    ("proxy-agent", &["api", "client", "proto"]),
    ("cluster-dns", &["api", "client", "proto"]),
    ("node-agent", &["api", "client", "proto"]),
    ("kubectl-lite", &["api", "client", "proto"]),
];

/// Names that say nothing about what a file holds.
const BANNED_FILE_STEMS: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace's root")
}

/// Every Rust file that git knows or would add, relative to the root.
fn rust_files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let files: Vec<PathBuf> =
        text.lines().map(PathBuf::from).filter(|path| root().join(path).exists()).collect();
    assert!(files.len() > 20, "git listed only {} Rust files", files.len());
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let members: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        // These two put the parts together.
        let Some(allowed) = allowed.get(name) else {
            assert!(
                ["coracle", "e2e"].contains(&name),
                "{name} is missing in the table of imports"
            );
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let import = dependency["name"].as_str().unwrap_or_default();
            let listed = import == name || import == "features" || allowed.contains(&import);
            if members.contains(&import) && !listed {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert_none("imports that the table does not allow", wrong);
}

#[test]
fn files_say_what_they_are() {
    let wrong = rust_files()
        .into_iter()
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("files that do not start with a `//!` head", wrong);
}

#[test]
fn files_are_short() {
    let mut long: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut too_long = Vec::new();
    for path in rust_files() {
        let lines = read(&path).lines().count();
        let line = format!("{}: {lines} lines", path.display());
        if lines > MAX_FILE_LINES {
            too_long.push(line.clone());
        }
        let krate = path.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
        let krate = krate.unwrap_or_default();
        *count.entry(krate.clone()).or_default() += 1;
        if lines > LONG_FILE_LINES && !path.components().any(|c| c.as_os_str() == "tests") {
            long.entry(krate).or_default().push(line);
        }
    }
    assert_none("files over the longest length", too_long);
    let wrong = long
        .into_iter()
        .filter(|(krate, files)| files.len() * 20 > count[krate].max(20))
        .flat_map(|(_, files)| files)
        .collect();
    assert_none("crates with more than one file in twenty over 500 lines", wrong);
}

#[derive(Default)]
struct Functions {
    long: Vec<(String, usize)>,
}

impl Functions {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > MAX_FUNCTION_LINES {
            self.long.push((name.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        let file = syn::parse_file(&read(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut functions = Functions::default();
        functions.visit_file(&file);
        for (name, lines) in functions.long {
            wrong.push(format!("{}: {name} has {lines} lines", path.display()));
        }
    }
    assert_none("functions over 70 lines", wrong);
}

#[test]
fn files_have_telling_names() {
    let wrong = rust_files()
        .into_iter()
        .filter(|path| {
            path.with_extension("").components().any(|part| {
                BANNED_FILE_STEMS.contains(&part.as_os_str().to_string_lossy().as_ref())
            })
        })
        .map(|path| path.display().to_string())
        .collect();
    assert_none("files with names that say nothing", wrong);
}
