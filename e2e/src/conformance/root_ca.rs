//! The certificates by which pods trust the API server, published in every namespace.

use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::json;

use super::{
    Test,
    kube_client::{deleted, modified, next, with_kube},
    site::Site,
};
use crate::Client;

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[("api_root_ca_is_in_every_namespace", root_ca)];

const NAME: &str = "kube-root-ca.crt";

fn root_ca(_site: &Site, client: &Client) {
    with_kube(client, "root-ca", async |kube, namespace| {
        let maps: Api<ConfigMap> = Api::namespaced(kube, namespace);
        let only = WatchParams::default().fields(&format!("metadata.name={NAME}"));
        let mut events = Box::pin(maps.watch(&only, "0").await?);
        let certificates = |map: &ConfigMap| {
            let data = map.data.as_ref().and_then(|data| data.get("ca.crt")).cloned();
            data.filter(|text| text.starts_with("-----BEGIN CERTIFICATE-----"))
                .with_context(|| format!("no certificates in {map:?}"))
        };
        let WatchEvent::Added(first) = next(&mut events).await? else {
            anyhow::bail!("a new namespace gets {NAME}");
        };
        let published = certificates(&first)?;
        let described = first.metadata.annotations.context("annotations")?;
        assert!(described.contains_key("kubernetes.io/description"), "{described:?}");

        let change = Patch::Merge(json!({"data": {"ca.crt": "another", "more": "data"}}));
        maps.patch(NAME, &PatchParams::default(), &change).await?;
        assert_eq!(modified(&mut events).await?.data.map(|data| data.len()), Some(2));
        let back = modified(&mut events).await?;
        assert_eq!(back.data.as_ref().map(|data| data.len()), Some(1));
        assert_eq!(certificates(&back)?, published);

        maps.delete(NAME, &DeleteParams::default()).await?;
        deleted(&mut events).await?;
        let WatchEvent::Added(again) = next(&mut events).await? else {
            anyhow::bail!("{NAME} comes again");
        };
        assert_eq!(certificates(&again)?, published);
        Ok(())
    });
}
