//! Follows Services and EndpointSlices into the table. Never answers a query.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tracing::{info, warn};

use crate::state::State;
use crate::table::ObjectName;

/// Follows both kinds until dropped, through every loss of the connection. What
/// is known stays served meanwhile.
pub async fn follow(client: Client, state: Arc<State>) {
    let services =
        watcher::watcher(Api::<Service>::all(client.clone()), watcher::Config::default());
    let slices = watcher::watcher(Api::<EndpointSlice>::all(client), watcher::Config::default());
    tokio::join!(
        drive(client::retried(services), Services(&state)),
        drive(client::retried(slices), Slices(&state)),
    );
}

/// What the two kinds do differently.
trait Follower<K> {
    const KIND: &'static str;
    fn apply(&self, object: K);
    fn delete(&self, name: &ObjectName);
    fn held(&self) -> Vec<ObjectName>;
    fn synced(&self);
}

struct Services<'a>(&'a State);

impl Follower<Service> for Services<'_> {
    const KIND: &'static str = "services";
    fn apply(&self, object: Service) {
        self.0.write().apply_service(object);
    }
    fn delete(&self, (namespace, name): &ObjectName) {
        self.0.write().delete_service(namespace, name);
    }
    fn held(&self) -> Vec<ObjectName> {
        self.0.read().service_names()
    }
    fn synced(&self) {
        self.0.set_services_synced();
    }
}

struct Slices<'a>(&'a State);

impl Follower<EndpointSlice> for Slices<'_> {
    const KIND: &'static str = "endpointslices";
    fn apply(&self, object: EndpointSlice) {
        self.0.write().apply_slice(object);
    }
    fn delete(&self, (namespace, name): &ObjectName) {
        self.0.write().delete_slice(namespace, name);
    }
    fn held(&self) -> Vec<ObjectName> {
        self.0.read().slice_names()
    }
    fn synced(&self) {
        self.0.set_slices_synced();
    }
}

async fn drive<K, F>(events: impl Stream<Item = watcher::Result<Event<K>>>, follower: F)
where
    K: ResourceExt,
    F: Follower<K>,
{
    let mut events = std::pin::pin!(events);
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => follower.apply(object),
            Ok(Event::Delete(object)) => follower.delete(&name_of(&object)),
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(name_of(&object));
                follower.apply(object);
            }
            Ok(Event::InitDone) => {
                // What was deleted while nobody watched is in no event.
                for gone in follower.held() {
                    if !listed.contains(&gone) {
                        follower.delete(&gone);
                    }
                }
                info!("{} {} known", listed.len(), F::KIND);
                listed = HashSet::new();
                follower.synced();
            }
            Err(error) => warn!("watching {} failed, trying again: {error}", F::KIND),
        }
    }
}

fn name_of(object: &impl ResourceExt) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}
