//! Follows Services and EndpointSlices into the table. Never answers a query.

use std::sync::Arc;

use client::{Key, Update};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tracing::info;

use crate::state::State;

/// Follows both kinds until dropped, through every loss of the connection. What
/// is known stays served meanwhile.
pub async fn follow(client: Client, state: Arc<State>) {
    tokio::join!(
        drive(client::follow(Api::all(client.clone()), ""), Services(&state)),
        drive(client::follow(Api::all(client), ""), Slices(&state)),
    );
}

/// What the two kinds do differently.
trait Follower<K> {
    const KIND: &'static str;
    fn apply(&self, object: K);
    fn delete(&self, key: &Key);
    fn synced(&self);
}

struct Services<'a>(&'a State);

impl Follower<Service> for Services<'_> {
    const KIND: &'static str = "services";
    fn apply(&self, object: Service) {
        self.0.write().apply_service(object);
    }
    fn delete(&self, key: &Key) {
        self.0.write().delete_service(&key.namespace, &key.name);
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
    fn delete(&self, key: &Key) {
        self.0.write().delete_slice(&key.namespace, &key.name);
    }
    fn synced(&self) {
        self.0.set_slices_synced();
    }
}

async fn drive<K, F>(mut updates: BoxStream<'_, Update<K>>, follower: F)
where
    F: Follower<K>,
{
    while let Some(update) = updates.next().await {
        match update {
            Update::Listing => {}
            Update::Set(object) => follower.apply(object),
            Update::Gone(life) => follower.delete(&life.key),
            Update::Synced => {
                info!("all {} known", F::KIND);
                follower.synced();
            }
        }
    }
}
