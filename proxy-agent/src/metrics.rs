//! What the agent counts, under the names and labels that kube-proxy has.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::mode::{self, Entry};
use crate::routes::Family;

/// Label `ip_family`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfFamily {
    ip_family: &'static str,
}

/// Labels `ip_family` and `traffic_policy`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfPolicy {
    ip_family: &'static str,
    traffic_policy: &'static str,
}

/// Labels `ip_family` and `what`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    ip_family: &'static str,
    what: &'static str,
}

/// Label `code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: u16,
}

impl From<Family> for OfFamily {
    fn from(family: Family) -> OfFamily {
        OfFamily { ip_family: family.as_str() }
    }
}

/// Which probe was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz`
    Healthz,
    /// `/livez`
    Livez,
}

type Histograms = Labelled<OfFamily, Histogram>;
type Counters = Labelled<OfFamily, Counter>;
type Seconds = Labelled<OfFamily, Gauge<f64, AtomicU64>>;
type Numbers<Labels> = Labelled<Labels, Gauge<i64, AtomicI64>>;

/// The counters; one for the process.
pub struct Metrics {
    registry: Registry,
    sync_seconds: Histograms,
    full_sync_seconds: Histograms,
    partial_sync_seconds: Histograms,
    last_sync: Seconds,
    last_queued: Seconds,
    programming_seconds: Histograms,
    /// Changes of EndpointSlices.
    pub endpoint_changes: Counter,
    /// Those that no round has taken up yet.
    pub endpoint_changes_pending: Gauge,
    /// Changes of Services.
    pub service_changes: Counter,
    /// Those that no round has taken up yet.
    pub service_changes_pending: Gauge,
    failures: Counters,
    cleanup_failures: Counters,
    no_local_endpoints: Numbers<OfPolicy>,
    conntrack_seconds: Histograms,
    conntrack_deleted: Counters,
    refused: Labelled<OfKind, Counter>,
    healthz: Labelled<OfCode, Counter>,
    livez: Labelled<OfCode, Counter>,
    /// Services of which the mode cannot do all that they ask for.
    pub unsupported_services: Gauge,
    /// Events that were not sent, since too many waited.
    pub events_left_out: Counter,
}

/// Upstream's buckets of a round: 1 ms, doubled.
fn round() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// Upstream's buckets of programming: by seconds to a minute, up to five.
fn programming() -> Histogram {
    let seconds = (1..60).map(f64::from);
    let minutes = (60..=115).step_by(5).map(f64::from);
    let long = (120..=300).step_by(30).map(f64::from);
    Histogram::new([0.25, 0.5].into_iter().chain(seconds).chain(minutes).chain(long))
}

impl Metrics {
    /// All at zero: those that every mode has, and those of `mode`.
    pub fn new(mode: &Entry) -> Metrics {
        let rounds = || Histograms::new_with_constructor(round);
        let mut metrics = Metrics {
            registry: Registry::with_prefix("kubeproxy"),
            sync_seconds: rounds(),
            full_sync_seconds: rounds(),
            partial_sync_seconds: rounds(),
            last_sync: Labelled::default(),
            last_queued: Labelled::default(),
            programming_seconds: Histograms::new_with_constructor(programming),
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            failures: Labelled::default(),
            cleanup_failures: Labelled::default(),
            no_local_endpoints: Labelled::default(),
            conntrack_seconds: rounds(),
            conntrack_deleted: Labelled::default(),
            refused: Labelled::default(),
            healthz: Labelled::default(),
            livez: Labelled::default(),
            unsupported_services: Gauge::default(),
            events_left_out: Counter::default(),
        };
        metrics.register_all();
        metrics.register_mode(mode.counters);
        metrics
    }

    fn register(&mut self, name: &str, help: &str, metric: impl Metric + Clone) {
        self.registry.register(name, help, metric);
    }

    /// What every mode counts.
    #[rustfmt::skip]
    fn register_all(&mut self) {
        self.register("sync_proxy_rules_duration_seconds", "One round of programming", self.sync_seconds.clone());
        self.register("sync_full_proxy_rules_duration_seconds", "One round that looked at everything", self.full_sync_seconds.clone());
        self.register("sync_partial_proxy_rules_duration_seconds", "One round that looked at changes alone", self.partial_sync_seconds.clone());
        self.register("sync_proxy_rules_last_timestamp_seconds", "When rules were last programmed", self.last_sync.clone());
        self.register("sync_proxy_rules_last_queued_timestamp_seconds", "When a change was last queued", self.last_queued.clone());
        self.register("network_programming_duration_seconds", "From the trigger of an endpoint change to its rules", self.programming_seconds.clone());
        self.register("conntrack_reconciler_sync_duration_seconds", "One look for stale tracked connections", self.conntrack_seconds.clone());
        self.register("conntrack_reconciler_deleted_entries", "Stale tracked connections that were forgotten", self.conntrack_deleted.clone());
        self.register("sync_proxy_rules_endpoint_changes", "Changes of EndpointSlices", self.endpoint_changes.clone());
        self.register("sync_proxy_rules_endpoint_changes_pending", "Changes of EndpointSlices that wait for a round", self.endpoint_changes_pending.clone());
        self.register("sync_proxy_rules_service_changes", "Changes of Services", self.service_changes.clone());
        self.register("sync_proxy_rules_service_changes_pending", "Changes of Services that wait for a round", self.service_changes_pending.clone());
        self.register("sync_proxy_rules_no_local_endpoints_total", "Service ports with a Local traffic policy and no endpoint on this node", self.no_local_endpoints.clone());
        self.register("proxy_healthz", "Answers of /healthz", self.healthz.clone());
        self.register("proxy_livez", "Answers of /livez", self.livez.clone());
        self.register("unsupported_services", "Services of which the mode cannot do all that they ask for", self.unsupported_services.clone());
        self.register("events_left_out", "Events that were not sent, since too many waited", self.events_left_out.clone());
    }

    /// What there is for one mode alone.
    fn register_mode(&mut self, counters: mode::Counters) {
        self.register(counters.failures, "Rounds that failed", self.failures.clone());
        if let Some(name) = counters.cleanup_failures {
            let help = "Removals of what is out of use that failed";
            self.register(name, help, self.cleanup_failures.clone());
        }
        if let Some(name) = counters.refused {
            let help = "What was turned away at a limit, as of the last round";
            self.register(name, help, self.refused.clone());
        }
    }

    /// A round of one family succeeded. What failed never is zero, rather than absent.
    pub fn synced(&self, family: Family, seconds: f64, is_full: bool) {
        let labels = OfFamily::from(family);
        for failures in [&self.failures, &self.cleanup_failures] {
            failures.get_or_create(&labels).inc_by(0);
        }
        let by_extent = if is_full { &self.full_sync_seconds } else { &self.partial_sync_seconds };
        by_extent.get_or_create(&labels).observe(seconds);
        self.sync_seconds.get_or_create(&labels).observe(seconds);
        self.last_sync.get_or_create(&labels).set(seconds_since_1970());
    }

    /// A round of one family failed.
    pub fn failed(&self, family: Family) {
        self.failures.get_or_create(&family.into()).inc();
    }

    /// Something out of use of one family could not be removed.
    pub fn cleanup_failed(&self, family: Family) {
        self.cleanup_failures.get_or_create(&family.into()).inc();
    }

    /// A change waits for one family's round.
    pub fn queued(&self, family: Family) {
        self.last_queued.get_or_create(&family.into()).set(seconds_since_1970());
    }

    /// The rules for an endpoint's change are there, so long after its trigger.
    pub fn programmed(&self, family: Family, seconds: f64) {
        self.programming_seconds.get_or_create(&family.into()).observe(seconds);
    }

    /// How much of one kind a family has turned away in all.
    pub fn refused(&self, family: Family, what: &'static str, count: u64) {
        let labels = OfKind { ip_family: family.as_str(), what };
        let counter = self.refused.get_or_create(&labels);
        counter.inner().store(count, Ordering::Relaxed);
    }

    /// Moves the number of Service ports of which policy `Local` finds nobody here;
    /// `policy` is `internal` or `external`.
    pub fn moved_no_local_endpoints(&self, family: Family, policy: &'static str, by: i64) {
        let labels = OfPolicy { ip_family: family.as_str(), traffic_policy: policy };
        self.no_local_endpoints.get_or_create(&labels).inc_by(by);
    }

    /// Stale tracked connections of a family were forgotten.
    pub fn forgot_connections(&self, family: Family, count: usize, seconds: f64) {
        let labels = OfFamily::from(family);
        self.conntrack_seconds.get_or_create(&labels).observe(seconds);
        self.conntrack_deleted.get_or_create(&labels).inc_by(count as u64);
    }

    /// A probe was answered.
    pub fn probed(&self, probe: Probe, code: u16) {
        let counters = match probe {
            Probe::Healthz => &self.healthz,
            Probe::Livez => &self.livez,
        };
        counters.get_or_create(&OfCode { code }).inc();
    }

    /// All of them as OpenMetrics has them.
    pub fn render_openmetrics(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }

    /// All of them in the older text format, in which a counter's description has the
    /// name that its samples have, and nothing says where the end is.
    pub fn render_text(&self) -> String {
        let text = self.render_openmetrics();
        let counters: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
            .collect();
        let mut older = String::with_capacity(text.len());
        for line in text.lines().filter(|line| *line != "# EOF") {
            let described = ["# HELP ", "# TYPE "].into_iter().find_map(|head| {
                let (name, rest) = line.strip_prefix(head)?.split_once(' ')?;
                counters.contains(name).then_some((head, name, rest))
            });
            let _ = match described {
                Some((head, name, rest)) => writeln!(older, "{head}{name}_total {rest}"),
                None => writeln!(older, "{line}"),
            };
        }
        older
    }
}

fn seconds_since_1970() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
