//! The loops around the pure parts: which change makes which Service be looked at
//! again, and how a plan is written.
//!
//! Never decides what is wanted; a failed write is retried from fresh observations.

mod endpoint_slices;
mod endpoints;
mod mirroring;

use anyhow::Context;
use client::control_loop::Start;
use client::{Key, is_namespace_terminating, is_status};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::pack::Plan;
use crate::{LABEL_MANAGED_BY, LABEL_SERVICE_NAME, World};

/// Every controller of this crate, a line each.
pub const ALL: &[Start<World>] = &[endpoint_slices::start, endpoints::start, mirroring::start];

/// Services worked on at the same time by each controller.
const CONCURRENT_SERVICES: usize = 32;
/// Writes in flight for one Service.
const CONCURRENT_WRITES: usize = 8;

/// The manager and the Service an EndpointSlice names in its labels.
pub fn slice_manager_and_service(slice: &EndpointSlice) -> Option<(&str, Key)> {
    let labels = slice.metadata.labels.as_ref()?;
    let namespace = slice.metadata.namespace.as_deref()?;
    let service = Key::new(namespace, labels.get(LABEL_SERVICE_NAME)?);
    Some((labels.get(LABEL_MANAGED_BY)?, service))
}

enum Write {
    Create(EndpointSlice),
    Update(EndpointSlice),
}

/// Writes a plan: what is new or changed first, so that no address is missing in between.
async fn write(world: &World, namespace: &str, plan: Plan) -> anyhow::Result<()> {
    let api: &Api<EndpointSlice> = &Api::namespaced(world.client.clone(), namespace);
    let creates = plan.create.into_iter().map(Write::Create);
    let updates = plan.update.into_iter().map(Write::Update);
    stream::iter(creates.chain(updates))
        .map(anyhow::Ok)
        .try_for_each_concurrent(CONCURRENT_WRITES, |write| async move {
            let written = match write {
                Write::Create(slice) => {
                    api.create(&PostParams::default(), &slice).await.context("creating a slice")?
                }
                Write::Update(slice) => {
                    let name = slice.metadata.name.clone().unwrap_or_default();
                    let answer = api.replace(&name, &PostParams::default(), &slice).await;
                    if is_status(&answer, 404) {
                        world.slices.cache.forget(&slice);
                    }
                    answer.context("updating a slice")?
                }
            };
            world.slices.wrote(written);
            Ok(())
        })
        .await?;
    stream::iter(plan.delete)
        .map(anyhow::Ok)
        .try_for_each_concurrent(CONCURRENT_WRITES, |slice| async move {
            let name = slice.metadata.name.clone().unwrap_or_default();
            let same_life =
                Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(same_life), ..DeleteParams::default() };
            let answer = api.delete(&name, &params).await;
            if !is_status(&answer, 404) {
                answer.context("deleting a slice")?;
            }
            world.slices.cache.forget(&slice);
            Ok(())
        })
        .await
}

/// A namespace on its way out takes no new objects: nothing is left to do there.
fn drop_if_terminating(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if is_namespace_terminating(&error) => Ok(()),
        other => other,
    }
}
