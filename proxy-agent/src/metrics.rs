//! What the agent counts, under the names that kube-proxy has. Never decides
//! whether the agent is healthy.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The counters; one for the process.
pub struct Metrics {
    registry: Registry,
    /// One round from changes to the kernel's acknowledgement.
    pub sync_seconds: Histogram,
    /// When the last successful round ended, in seconds since 1970.
    pub last_sync: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// When a change was last taken in.
    pub last_queued: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// From the change of a pod or Service to the rule, where the slice says when.
    pub programming_seconds: Histogram,
    /// Changes of EndpointSlices.
    pub endpoint_changes: Counter,
    /// Changes of Services.
    pub service_changes: Counter,
    /// Rounds that failed.
    pub failures: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        // Upstream's buckets: from 1 ms doubled, and up to minutes for programming.
        let sync_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let programming_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 20));
        let metrics = Metrics {
            sync_seconds,
            programming_seconds,
            last_sync: Gauge::default(),
            last_queued: Gauge::default(),
            endpoint_changes: Counter::default(),
            service_changes: Counter::default(),
            failures: Counter::default(),
            registry: Registry::default(),
        };
        registry.register(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "One round of programming",
            metrics.sync_seconds.clone(),
        );
        registry.register(
            "kubeproxy_network_programming_duration_seconds",
            "From the trigger of an endpoint change to its rules",
            metrics.programming_seconds.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When rules were last programmed",
            metrics.last_sync.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change was last queued",
            metrics.last_queued.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices",
            metrics.endpoint_changes.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_service_changes",
            "Changes of Services",
            metrics.service_changes.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures",
            "Rounds that failed",
            metrics.failures.clone(),
        );
        Metrics {
            registry,
            ..metrics
        }
    }

    /// All of them in the exposition format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}
