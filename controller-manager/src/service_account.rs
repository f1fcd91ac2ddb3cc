//! Sees to it that every namespace has the ServiceAccount `default`.
//!
//! Never touches one that exists.

use std::sync::Arc;

use anyhow::Context;
use client::{Key, WorkQueue};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::{World, is_namespace_terminating, is_status};

/// The ServiceAccount pods run as that name none.
const NAME: &str = "default";
/// Namespaces looked after at the same time.
const CONCURRENT_NAMESPACES: usize = 16;

/// Registers what makes a namespace be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let to = queue.clone();
    world.namespaces.on_change(move |change| {
        change.new.iter().for_each(|namespace| to.add(Key::of(namespace.as_ref())));
    });
    let to = queue.clone();
    world.service_accounts.on_change(move |change| {
        if let (Some(gone), None) = (&change.old, &change.new) {
            to.add(Key::new("", gone.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    Box::pin(async move {
        world.namespaces.cache.synced().await;
        world.service_accounts.cache.synced().await;
        let work = |key: Key| {
            let world = &world;
            async move { ensure(world, &key.name).await.map(|()| None) }
        };
        queue.run("serviceaccount", CONCURRENT_NAMESPACES, work).await;
    })
}

async fn ensure(world: &World, namespace: &str) -> anyhow::Result<()> {
    let Some(held) = world.namespaces.cache.get(&Key::new("", namespace)) else {
        return Ok(());
    };
    let exists = world.service_accounts.cache.get(&Key::new(namespace, NAME)).is_some();
    if exists || held.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api: Api<ServiceAccount> = Api::namespaced(world.client.clone(), namespace);
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let answer = api.create(&PostParams::default(), &account).await;
    if is_status(&answer, 409) || is_status(&answer, 404) {
        return Ok(());
    }
    match answer.map_err(anyhow::Error::from) {
        Ok(account) => world.service_accounts.wrote(account),
        Err(error) if is_namespace_terminating(&error) => {}
        Err(error) => return Err(error).context("creating the default ServiceAccount"),
    }
    Ok(())
}
