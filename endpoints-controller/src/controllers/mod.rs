//! The loops around the pure parts: which change makes which Service be looked at
//! again, and how a plan is written. A failed write is retried from fresh observations.

mod endpoint_slices;
mod endpoints;
mod mirroring;

use anyhow::Context;
use client::control_loop::Start;
use client::{Key, is_namespace_terminating, is_status};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions, Request};
use kube::{Api, Resource};

use crate::pack::Plan;
use crate::stored::StoredSlice;
use crate::{LABEL_MANAGED_BY, LABEL_SERVICE_NAME, World, selector_of};

/// Every controller of this crate, a line each.
pub const ALL: &[Start<World>] = &[endpoint_slices::start, endpoints::start, mirroring::start];

/// Services worked on at the same time by each controller.
const CONCURRENT_SERVICES: usize = 32;
/// Writes in flight for one Service.
const CONCURRENT_WRITES: usize = 16;

/// The manager and the Service an EndpointSlice names in its labels.
pub fn slice_manager_and_service(meta: &ObjectMeta) -> Option<(&str, Key)> {
    let labels = meta.labels.as_ref()?;
    let namespace = meta.namespace.as_deref()?;
    let service = Key::new(namespace, labels.get(LABEL_SERVICE_NAME)?);
    Some((labels.get(LABEL_MANAGED_BY)?, service))
}

/// Writes a plan: what is new or changed first, so that no address is missing in between.
/// Returns the written slices as they are stored.
async fn write(world: &World, namespace: &str, plan: Plan) -> anyhow::Result<Vec<EndpointSlice>> {
    let written = stream::iter(plan.create.into_iter().chain(plan.update))
        .map(|slice| write_slice(world, namespace, slice))
        .buffer_unordered(CONCURRENT_WRITES)
        .try_collect()
        .await?;
    let api: &Api<EndpointSlice> = &Api::namespaced(world.client.clone(), namespace);
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
            world.slices.cache.forget(&StoredSlice::bare(slice.metadata.clone()));
            Ok(())
        })
        .await?;
    Ok(written)
}

/// Creates a slice that has no resourceVersion yet, and replaces one that has.
async fn write_slice(
    world: &World,
    namespace: &str,
    mut slice: EndpointSlice,
) -> anyhow::Result<EndpointSlice> {
    let body = serde_json::to_vec(&slice)?;
    let request = Request::new(EndpointSlice::url_path(&(), Some(namespace)));
    let params = PostParams::default();
    // Of the answer only the metadata is news; its endpoints stay in JSON.
    let stored: StoredSlice = if slice.metadata.resource_version.is_none() {
        let request = request.create(&params, body)?;
        world.client.request(request).await.context("creating a slice")?
    } else {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let answer = world.client.request(request.replace(&name, &params, body)?).await;
        if is_status(&answer, 404) {
            world.slices.cache.forget(&StoredSlice::bare(slice.metadata.clone()));
        }
        answer.context("updating a slice")?
    };
    slice.metadata = stored.metadata.clone();
    world.slices.wrote(stored);
    Ok(slice)
}

/// A namespace on its way out takes no new objects: nothing is left to do there.
fn drop_if_terminating<T>(outcome: anyhow::Result<T>, nothing: T) -> anyhow::Result<T> {
    match outcome {
        Err(error) if is_namespace_terminating(&error) => Ok(nothing),
        other => other,
    }
}

/// Whether the Service's endpoints are this program's to find.
fn gets_endpoints(service: &Service) -> bool {
    let external =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
    !external && selector_of(service).is_some() && service.metadata.deletion_timestamp.is_none()
}
