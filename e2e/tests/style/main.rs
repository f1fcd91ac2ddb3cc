//! The style rules of CONTRIBUTING.md as tests: imports, circles, documents, sizes, heads,
//! names.

mod circles;
mod documents;
mod modules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use modules::Tree;
use syn::{spanned::Spanned, visit::Visit};

/// No file is longer, tests and benches included.
const MAX_FILE_LINES: usize = 800;
/// Of the files of one crate's `src`, at most one in twenty may be longer.
const LONG_FILE_LINES: usize = 500;
/// No function is longer.
const MAX_FUNCTION_LINES: usize = 70;

/// Says which features dependencies have. Every crate depends on it, and none imports anything.
const FEATURES: &str = "features";

/// Which of the workspace's crates each of them imports, tests and benchmarks included: all of
/// these, and no others.
const IMPORTS: &[(&str, &[&str])] = &[
    (FEATURES, &[]),
    ("proto", &[]),
    ("api", &[]),
    ("store", &[]),
    ("client", &[]),
    ("apiserver", &["api", "client", "proto", "store"]),
    ("endpoints-controller", &["client"]),
    ("controller-manager", &["client"]),
    ("proxy-agent", &["client"]),
    ("cluster-dns", &["client"]),
    ("node-agent", &["client", "proto"]),
    ("kubectl-lite", &["api", "client"]),
    (
        "coracle",
        &[
            "apiserver",
            "client",
            "cluster-dns",
            "controller-manager",
            "endpoints-controller",
            "kubectl-lite",
            "node-agent",
            "proxy-agent",
        ],
    ),
    ("e2e", &["coracle"]),
];

/// The same for the folders and files of `coracle/src`.
const CORACLE_IMPORTS: &[(&str, &[&str])] = &[
    ("cluster", &[]),
    ("cmd", &["cluster", "component", "containers", "demo_web", "lab"]),
    ("component", &[]),
    ("containers", &["cluster"]),
    ("demo_web", &[]),
    ("lab", &["cluster"]),
    ("lib", &[]),
    ("main", &[]),
];

/// Names that say nothing about what a file holds.
const BANNED_FILE_STEMS: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

fn root() -> PathBuf {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&here).join("..").canonicalize().expect("the workspace's root")
}

/// Every file of that pattern that git knows or would add, relative to the root.
fn listed_files(pattern: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", pattern])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    text.lines().map(PathBuf::from).filter(|path| root().join(path).exists()).collect()
}

fn rust_files() -> Vec<PathBuf> {
    let files = listed_files("*.rs");
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

/// One crate of the workspace.
struct Package {
    name: String,
    /// The first file of each library, program, test and benchmark, relative to the root.
    targets: Vec<PathBuf>,
    /// The workspace's crates among its dependencies.
    imports: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let members: BTreeSet<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let list = |package: &serde_json::Value, key: &str| package[key].as_array().cloned();
    let read = |package: &serde_json::Value| Package {
        name: text(&package["name"]),
        targets: list(package, "targets")
            .into_iter()
            .flatten()
            .map(|target| PathBuf::from(text(&target["src_path"])))
            .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
            .map(|file| file.strip_prefix(root()).expect("inside the root").to_owned())
            .filter(|file| !file.ends_with("build.rs"))
            .collect(),
        imports: list(package, "dependencies")
            .into_iter()
            .flatten()
            .map(|dependency| text(&dependency["name"]))
            .filter(|name| members.contains(name) && *name != text(&package["name"]))
            .filter(|name| name != FEATURES)
            .collect(),
    };
    packages.iter().map(read).collect()
}

/// Compares who imports whom with a table. Both say the same: what is listed and not imported is as
/// wrong as what is imported and not listed.
#[track_caller]
fn assert_imports(table: &[(&str, &[&str])], found: &BTreeMap<String, BTreeSet<String>>) {
    let mut wrong = Vec::new();
    for (name, imports) in found {
        let Some((_, allowed)) = table.iter().find(|(listed, _)| listed == name) else {
            wrong.push(format!("{name} is missing in the table"));
            continue;
        };
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        wrong.extend(imports.difference(&allowed).map(|other| format!("{name} imports {other}")));
        let unused = allowed.difference(imports);
        wrong.extend(unused.map(|other| format!("{name} does not import {other}, as listed")));
    }
    assert_none("imports that differ from the table", wrong);
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let found = packages().into_iter().map(|package| (package.name, package.imports)).collect();
    assert_imports(IMPORTS, &found);
}

#[test]
fn folders_import_only_what_the_table_allows() {
    let base = Path::new("coracle/src");
    let part = |file: &Path| {
        let inside = file.strip_prefix(base).expect("a file of the crate");
        let first = inside.iter().next().expect("a part").to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = rust_files()
        .iter()
        .filter(|file| file.starts_with(base))
        .map(|file| (part(file), BTreeSet::new()))
        .collect();
    for import in Tree::read(&root(), &base.join("lib.rs")).imports() {
        let (from, to) = (part(&import.from), part(&import.to));
        if from != to {
            found.entry(from).or_default().insert(to);
        }
    }
    assert_imports(CORACLE_IMPORTS, &found);
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
