//! Objects with owners in, what follows out. Never talks to an API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::discovery::ApiResource;
use serde_json::json;

use super::graph::{Decision, Graph};
use crate::kinds::Kind;

fn kind() -> Kind {
    Kind { resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()), namespaced: true }
}

/// `NAME [owner=NAME]... [blocking] [leaving] [foreground] [orphan]`; the UID is the name.
fn object(line: &str) -> ObjectMeta {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |flag: &str| words.contains(&flag);
    let owners: Vec<_> = words
        .iter()
        .filter_map(|word| word.strip_prefix("owner="))
        .map(|owner| json!({"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner, "blockOwnerDeletion": has("blocking")}))
        .collect();
    let finalizers: Vec<&str> = [("foreground", "foregroundDeletion"), ("orphan", "orphan")]
        .into_iter()
        .filter(|(flag, _)| has(flag))
        .map(|(_, name)| name)
        .collect();
    let meta = json!({
        "name": words[0], "uid": words[0], "ownerReferences": owners, "finalizers": finalizers,
        "deletionTimestamp": has("leaving").then_some("2026-01-01T00:00:00Z"),
    });
    serde_json::from_value(meta).expect("the metadata is well formed")
}

fn graph(objects: &str) -> Graph {
    let mut graph = Graph::default();
    for line in objects.lines().map(str::trim).filter(|line| !line.is_empty()) {
        graph.observe(&kind(), object(line));
    }
    graph
}

/// Decides on `x`; owners that the graph does not hold are absent, except `elsewhere`.
#[track_caller]
fn check(objects: &str, expected: &str) {
    let said = match graph(objects).decide("x", &|owner| owner.name != "elsewhere") {
        Decision::Keep => "keep".to_owned(),
        Decision::Release(finalizer) => format!("release {finalizer}"),
        Decision::Orphan(dependents) => format!("orphan {}", dependents.join(" ")),
        Decision::Unlink(owners) => format!(
            "unlink {}",
            owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>().join(" ")
        ),
        Decision::DeleteForeground => "delete in the foreground".to_owned(),
        Decision::Delete => "delete".to_owned(),
    };
    assert_eq!(said, expected, "{objects}");
}

#[test]
fn an_object_lives_as_long_as_one_owner() {
    check("x", "keep");
    check("o\n x owner=o", "keep");
    check("x owner=o", "delete");
    check("x owner=elsewhere", "keep");
    check("o\n x owner=o owner=gone", "unlink gone");
    check("x leaving owner=gone", "keep");
}

#[test]
fn a_foreground_deletion_waits_for_what_blocks_it() {
    check("x leaving foreground\n d owner=x blocking", "keep");
    check("x leaving foreground\n d owner=x", "release foregroundDeletion");
    check("x leaving foreground", "release foregroundDeletion");
    check("o leaving foreground\n x owner=o blocking", "delete");
    check("o leaving foreground\n x owner=o blocking\n d owner=x", "delete in the foreground");
    check("o leaving foreground\n p\n x owner=o owner=p", "unlink o");
}

#[test]
fn orphaning_lets_the_dependents_go_first() {
    check("x leaving orphan\n d owner=x\n e owner=x", "orphan d e");
    check("x leaving orphan", "orphan ");
}

#[test]
fn what_is_touched_by_a_removal_is_looked_at() {
    let mut graph = graph("o leaving foreground\n x owner=o blocking\n d owner=x");
    assert_eq!(graph.remove("x"), ["d", "o"]);
    assert_eq!(graph.observe(&kind(), object("d owner=x")), ["d"]);
    // Losing the owner is a change for the owner as well.
    assert_eq!(graph.observe(&kind(), object("d")), ["x"]);
}
