//! No file imports another that, by whatever way, imports it. A module and those inside it do not
//! count: they are one thing in several files.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    path::PathBuf,
};

use crate::{
    modules::{Import, Tree},
    packages, root, rust_files,
};

/// For each file, whom it imports, and in which line first.
type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, usize>>;

fn graph(imports: BTreeSet<Import>) -> Graph {
    let mut graph = Graph::new();
    for import in imports {
        graph.entry(import.from).or_default().entry(import.to).or_insert(import.line);
    }
    graph
}

/// The shortest way along imports that leads from a file back to it.
fn circle_through(graph: &Graph, start: &PathBuf) -> Option<Vec<PathBuf>> {
    let mut came_from: BTreeMap<&PathBuf, &PathBuf> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for next in graph.get(file).into_iter().flat_map(|imports| imports.keys()) {
            if next == start {
                let mut way = vec![file.clone()];
                let mut at = file;
                while at != start {
                    at = came_from[at];
                    way.push(at.clone());
                }
                way.reverse();
                return Some(way);
            }
            if next != start && !came_from.contains_key(next) {
                came_from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Circles such that each file that is in any is in one of them, shortest first.
fn circles(graph: &Graph) -> Vec<Vec<PathBuf>> {
    let mut all: Vec<_> = graph.keys().filter_map(|file| circle_through(graph, file)).collect();
    all.sort_by_key(|circle| (circle.len(), circle.clone()));
    let mut seen = BTreeSet::new();
    all.retain(|circle| {
        let new = circle.iter().any(|file| !seen.contains(file));
        seen.extend(circle.iter().cloned());
        new
    });
    all
}

fn describe(graph: &Graph, circle: &[PathBuf]) -> String {
    let mut text = String::new();
    for (at, file) in circle.iter().enumerate() {
        let next = &circle[(at + 1) % circle.len()];
        let line = graph[file][next];
        let _ = writeln!(text, "    {}:{line} imports {}", file.display(), next.display());
    }
    text
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut wrong = String::new();
    let mut listed = 0;
    let mut unread: BTreeSet<PathBuf> = rust_files().into_iter().collect();
    for package in packages() {
        let mut found = String::new();
        for target in &package.targets {
            let tree = Tree::read(&root(), target);
            for file in tree.files() {
                unread.remove(file);
            }
            let graph = graph(tree.imports());
            listed += graph.values().map(BTreeMap::len).sum::<usize>();
            for circle in circles(&graph) {
                found += &format!("  a circle of {}:\n{}", circle.len(), describe(&graph, &circle));
            }
        }
        if !found.is_empty() {
            wrong += &format!("{}\n{found}", package.name);
        }
    }
    unread.retain(|file| !file.ends_with("build.rs"));
    assert!(unread.is_empty(), "files of no module: {unread:?}");
    assert!(listed > 500, "only {listed} imports were found at all");
    assert!(wrong.is_empty(), "files import each other in circles:\n{wrong}");
}
