//! kube-rs for the tests of the API itself: a client of the lab, a namespace, and watched events.
//!
//! Never retries: what the server says first is what is tested.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, bail};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Config,
    api::{ObjectMeta, PostParams, WatchEvent},
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{Client, WAIT_S};

/// Runs a test with a kube-rs client, in a namespace of its own.
pub fn with_kube(
    client: &Client,
    namespace: &str,
    test: impl AsyncFnOnce(kube::Client, &str) -> anyhow::Result<()>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(&client.kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let kube = kube::Client::try_from(config)?;
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(kube.clone()).create(&PostParams::default(), &object).await?;
        test(kube, namespace).await
    });
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

/// The next event but bookmarks.
pub async fn next<K: Debug>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> anyhow::Result<WatchEvent<K>> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(WAIT_S), events.next()).await;
        let event = event.context("no event came")?.context("the watch ended")??;
        if !matches!(event, WatchEvent::Bookmark(_)) {
            return Ok(event);
        }
    }
}

/// The object of the next event, which must be one that modified it.
pub async fn modified<K: Debug>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> anyhow::Result<K> {
    match next(events).await? {
        WatchEvent::Modified(object) => Ok(object),
        other => bail!("MODIFIED was expected: {other:?}"),
    }
}

/// The object of the next event, which must be its end.
pub async fn deleted<K: Debug>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> anyhow::Result<K> {
    match next(events).await? {
        WatchEvent::Deleted(object) => Ok(object),
        other => bail!("DELETED was expected: {other:?}"),
    }
}
