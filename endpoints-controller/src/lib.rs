//! Endpoints and EndpointSlices from Services and Pods.
//!
//! Never looks at whether an address answers: readiness is the node agents' word.

pub mod controllers;
pub mod desired;
pub mod mirror;
pub mod pack;
pub mod pod;
pub mod subsets;
pub mod trigger_time;

use std::sync::Arc;

use client::{
    ApiServer, Cache, IndexEntry, Informer, Informers, Key, LeaderElection, Program, no_index,
};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;

/// Runs the controllers that make Endpoints and EndpointSlices.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the API server is.
    #[command(flatten)]
    pub api_server: ApiServer,
    /// Most endpoints in one EndpointSlice.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_endpoints_per_slice: u16,
    /// How one of several instances is chosen to work.
    #[command(flatten)]
    pub election: LeaderElection,
}

impl Program for Options {
    const NAME: &'static str = "endpoints-controller";
}

/// Label that ties an EndpointSlice to its Service.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that says who writes an EndpointSlice.
pub const LABEL_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label of what belongs to a headless Service.
pub const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation with the time of the change that led to the present state.
pub const ANNOTATION_TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Pods by "namespace/label=value".
const PODS_BY_LABEL: &str = "label";
/// Pods by node name.
const PODS_BY_NODE: &str = "node";
/// Services by "namespace/label=value" of the first pair of their selector.
const SERVICES_BY_SELECTOR: &str = "selector";
/// EndpointSlices by "manager namespace/service".
const SLICES_BY_SERVICE: &str = "service";

/// The watched objects all controllers of this crate share.
pub struct World {
    client: Client,
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    slices: Arc<Informer<EndpointSlice>>,
    endpoints: Arc<Informer<Endpoints>>,
    max_endpoints_per_slice: usize,
}

impl World {
    /// An empty view of the cluster behind `client`.
    fn new(client: Client, informers: &Informers, options: &Options) -> Arc<Self> {
        Arc::new(Self {
            services: informers.all(index_service),
            pods: informers.all(index_pod),
            nodes: informers.all(no_index),
            slices: informers.all(index_slice),
            endpoints: informers.all(no_index),
            client,
            max_endpoints_per_slice: usize::from(options.max_endpoints_per_slice),
        })
    }

    /// Resolves when the first list of every kind is in.
    async fn synced(&self) {
        self.services.cache.synced().await;
        self.pods.cache.synced().await;
        self.nodes.cache.synced().await;
        self.slices.cache.synced().await;
        self.endpoints.cache.synced().await;
    }

    /// Pods a Service's selector matches, ordered by name. Looks only at the pods that
    /// carry the rarest pair of the selector.
    fn pods_of(&self, service: &Service) -> Vec<Arc<Pod>> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let Some(selector) = selector_of(service) else {
            return Vec::new();
        };
        let cache: &Cache<Pod> = &self.pods.cache;
        let rarest = selector
            .iter()
            .map(|(key, value)| format!("{namespace}/{key}={value}"))
            .min_by_key(|pair| cache.count(PODS_BY_LABEL, pair));
        let mut pods = rarest.map(|pair| cache.by_index(PODS_BY_LABEL, &pair)).unwrap_or_default();
        pods.retain(|pod| pod::is_selected(pod, selector));
        pods
    }

    /// Services whose selector matches the pod.
    fn services_of(&self, pod: &Pod) -> Vec<Arc<Service>> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut services = Vec::new();
        for (key, value) in pod.metadata.labels.iter().flatten() {
            services.extend(
                self.services
                    .cache
                    .by_index(SERVICES_BY_SELECTOR, &format!("{namespace}/{key}={value}")),
            );
        }
        services.retain(|service| {
            selector_of(service).is_some_and(|selector| pod::is_selected(pod, selector))
        });
        services
    }

    /// EndpointSlices of a Service that `manager` writes.
    fn slices_of(&self, manager: &str, service: &Key) -> Vec<Arc<EndpointSlice>> {
        self.slices.cache.by_index(SLICES_BY_SERVICE, &format!("{manager} {service}"))
    }
}

/// The selector of a Service; none where it selects nothing by itself.
pub fn selector_of(service: &Service) -> Option<&std::collections::BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn index_service(service: &Service) -> Vec<IndexEntry> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let first = selector_of(service).and_then(|selector| selector.iter().next());
    first
        .map(|(key, value)| (SERVICES_BY_SELECTOR, format!("{namespace}/{key}={value}")))
        .into_iter()
        .collect()
}

fn index_pod(pod: &Pod) -> Vec<IndexEntry> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.iter().flatten();
    let mut entries: Vec<IndexEntry> =
        labels.map(|(key, value)| (PODS_BY_LABEL, format!("{namespace}/{key}={value}"))).collect();
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
        entries.push((PODS_BY_NODE, node));
    }
    entries
}

fn index_slice(slice: &EndpointSlice) -> Vec<IndexEntry> {
    controllers::slice_manager_and_service(slice)
        .map(|(manager, service)| (SLICES_BY_SERVICE, format!("{manager} {service}")))
        .into_iter()
        .collect()
}

/// Runs the controllers while this instance leads, until `stop` resolves.
///
/// # Errors
/// The kubeconfig leads nowhere, the leader's Lease was lost, or the options of its election
/// do not fit together. An unreachable API server is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (name, api_server) = (Options::NAME, &options.api_server);
    let world = |client, informers: &_| World::new(client, informers, &options);
    let controllers = controllers::ALL;
    client::control_loop::run(name, &options.election, api_server, stop, world, controllers).await
}
