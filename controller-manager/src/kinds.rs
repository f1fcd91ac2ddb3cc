//! The kinds the API server serves, as discovery tells.
//!
//! Never holds a list of its own.

use anyhow::Context;
use kube::Client;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::discovery::{ApiResource, Discovery, Scope, verbs};

/// An object of any kind, seen by its metadata.
pub type AnyObject = PartialObjectMeta<DynamicObject>;

/// A kind whose objects can be listed, watched and deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// All kinds that can be listed, watched and deleted; Events are left out where
/// `with_events` is false: they own nothing and nothing owns them.
///
/// # Errors
/// Discovery does not answer.
pub async fn discover(client: &Client, with_events: bool) -> anyhow::Result<Vec<Kind>> {
    let discovery =
        Discovery::new(client.clone()).run().await.context("asking which kinds there are")?;
    let mut kinds = Vec::new();
    for (resource, capabilities) in
        discovery.groups().flat_map(|group| group.recommended_resources())
    {
        let able = [verbs::LIST, verbs::WATCH, verbs::DELETE]
            .iter()
            .all(|verb| capabilities.supports_operation(verb));
        let twin = resource.kind == "Event" && resource.group == "events.k8s.io";
        if able && !twin && (with_events || resource.kind != "Event") {
            kinds.push(Kind { resource, namespaced: capabilities.scope == Scope::Namespaced });
        }
    }
    Ok(kinds)
}
