//! Publishes in every namespace the certificates by which pods trust the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::{ControlLoop, Informer, Key, Reconciler, is_status, no_index};
use futures::future::{self, BoxFuture};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::World;

/// The ConfigMap, which pods get mounted beside their token.
const NAME: &str = "kube-root-ca.crt";
/// Its key.
const DATA: &str = "ca.crt";
/// Says what it is; any text will do.
const ANNOTATION: &str = "kubernetes.io/description";
const DESCRIPTION: &str =
    "Certificates to verify the API server by, at addresses inside the cluster only.";
/// Namespaces looked after at the same time.
const CONCURRENT_NAMESPACES: usize = 16;

/// Registers what makes a namespace be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let Some(root_ca) = world.root_ca.clone() else {
        tracing::warn!("no certificates of the API server are known: {NAME} is not published");
        return Box::pin(future::pending());
    };
    let everywhere = Api::all(world.client.clone());
    let published = world.informers.some(everywhere, &format!("metadata.name={NAME}"), no_index);
    let mut control = ControlLoop::new("root-ca-cert-publisher", CONCURRENT_NAMESPACES);
    control.watch(&world.namespaces, |change| change.key_now());
    control.watch(&published, |change| change.key().map(|key| Key::new("", key.namespace)));
    let data = BTreeMap::from([(DATA.to_owned(), root_ca)]);
    control.run(Publisher { world, published, data })
}

struct Publisher {
    world: Arc<World>,
    published: Arc<Informer<ConfigMap>>,
    data: BTreeMap<String, String>,
}

impl Reconciler for Publisher {
    async fn sync(&self, namespace: &Key) -> anyhow::Result<Option<Duration>> {
        let known = self.world.namespaces.cache.get(namespace);
        if known.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            self.publish(&namespace.name).await?;
        }
        Ok(None)
    }
}

impl Publisher {
    async fn publish(&self, namespace: &str) -> anyhow::Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), namespace);
        let params = PostParams::default();
        let answer = match self.published.cache.get(&Key::new(namespace, NAME)) {
            None => api.create(&params, &self.wanted(ObjectMeta::default())).await,
            Some(held) if self.is_as_wanted(&held) => return Ok(()),
            Some(held) => api.replace(NAME, &params, &self.wanted(held.metadata.clone())).await,
        };
        // Somebody else was faster: the watch tells what there is now.
        if is_status(&answer, 409) {
            return Ok(());
        }
        self.published.keep(answer).with_context(|| format!("publishing {NAME}"))
    }

    fn is_as_wanted(&self, held: &ConfigMap) -> bool {
        let described = held.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        held.data.as_ref() == Some(&self.data) && described.is_some_and(|text| !text.is_empty())
    }

    fn wanted(&self, metadata: ObjectMeta) -> ConfigMap {
        let mut wanted = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..metadata },
            data: Some(self.data.clone()),
            ..ConfigMap::default()
        };
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.to_owned(), DESCRIPTION.to_owned());
        wanted
    }
}
