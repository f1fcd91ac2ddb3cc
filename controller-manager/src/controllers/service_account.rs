//! Sees to it that every namespace has the ServiceAccount `default`.
//!
//! Never touches one that exists.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::{ControlLoop, Informer, Key, Reconciler, is_status, no_index};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::World;

/// The ServiceAccount pods run as that name none.
const NAME: &str = "default";
/// Namespaces looked after at the same time.
const CONCURRENT_NAMESPACES: usize = 16;

/// Registers what makes a namespace be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let accounts = world.informers.all(no_index);
    let mut control = ControlLoop::new("serviceaccount", CONCURRENT_NAMESPACES);
    control.watch(&world.namespaces, |change| change.key_now());
    control.watch(&accounts, |change| change.key_gone().map(|gone| Key::new("", gone.namespace)));
    control.run(Keeper { world, accounts })
}

struct Keeper {
    world: Arc<World>,
    accounts: Arc<Informer<ServiceAccount>>,
}

impl Reconciler for Keeper {
    async fn sync(&self, namespace: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(held) = self.world.namespaces.cache.get(namespace) else {
            return Ok(None);
        };
        let exists = self.accounts.cache.get(&Key::new(&*namespace.name, NAME)).is_some();
        if !exists && held.metadata.deletion_timestamp.is_none() {
            self.create(&namespace.name).await?;
        }
        Ok(None)
    }
}

impl Keeper {
    async fn create(&self, namespace: &str) -> anyhow::Result<()> {
        let api: Api<ServiceAccount> = Api::namespaced(self.world.client.clone(), namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let answer = api.create(&PostParams::default(), &account).await;
        if is_status(&answer, 409) {
            return Ok(());
        }
        self.accounts.keep(answer).context("creating the default ServiceAccount")
    }
}
