//! What the server counts, under the names that CoreDNS has, so that dashboards made
//! for it work. Never decides an answer.

use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::cache::Said;
use crate::encode::Transport;

/// The zone of names that are not the cluster's, as CoreDNS's server block names it.
const ROOT_ZONE: &str = ".";
/// Types with a label of their own, so that clients cannot make labels up.
const COUNTED_TYPES: [RecordType; 11] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::ANY,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::NS,
    RecordType::PTR,
    RecordType::SOA,
    RecordType::SRV,
    RecordType::TXT,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    zone: &'static str,
    proto: &'static str,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    zone: &'static str,
    rcode: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Zone {
    zone: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheKind {
    r#type: &'static str,
}

/// The counters; one for the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The cluster domain; lives as long as the process.
    cluster_zone: &'static str,
    asked: Family<Asked, Counter>,
    answered: Family<Answered, Counter>,
    seconds: Family<Zone, Histogram, fn() -> Histogram>,
    hits: Family<CacheKind, Counter>,
    misses: Counter,
    cached: Gauge,
    /// Queries that found too many others waiting for an upstream.
    pub rejected: Counter,
}

/// A query that is being answered.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    zone: &'static str,
    at: Instant,
}

impl Metrics {
    /// All at zero, for a server of this zone.
    pub fn new(cluster_zone: &str) -> Metrics {
        let mut registry = Registry::with_prefix("coredns");
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let metrics = Metrics {
            registry: Registry::default(),
            cluster_zone: Box::leak(cluster_zone.to_owned().into_boxed_str()),
            asked: Family::default(),
            answered: Family::default(),
            seconds,
            hits: Family::default(),
            misses: Counter::default(),
            cached: Gauge::default(),
            rejected: Counter::default(),
        };
        registry.register("dns_requests", "Queries", metrics.asked.clone());
        registry.register("dns_responses", "Responses", metrics.answered.clone());
        registry.register(
            "dns_request_duration_seconds",
            "From a query to its response",
            metrics.seconds.clone(),
        );
        registry.register("cache_hits", "Responses from the cache", metrics.hits.clone());
        registry.register(
            "cache_misses",
            "Queries sent on for want of a cached response",
            metrics.misses.clone(),
        );
        registry.register("cache_entries", "Responses in the cache", metrics.cached.clone());
        registry.register(
            "forward_max_concurrent_rejects",
            "Queries refused because too many waited for an upstream",
            metrics.rejected.clone(),
        );
        Metrics { registry, ..metrics }
    }

    /// Counts a query; `is_ours`: its name is in the cluster's zone.
    pub fn begin(&self, query: &Message, is_ours: bool, by: Transport) -> Begun {
        let zone = if is_ours { self.cluster_zone } else { ROOT_ZONE };
        let kind = query.queries.first().map(|question| question.query_type);
        let known = kind.filter(|kind| COUNTED_TYPES.contains(kind));
        let asked = Asked {
            zone,
            proto: match by {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            r#type: known.map_or_else(|| "other".to_owned(), |kind| kind.to_string()),
        };
        self.asked.get_or_create(&asked).inc();
        let at = Instant::now();
        Begun { zone, at }
    }

    /// Counts the response to it.
    pub fn end(&self, begun: Begun, code: ResponseCode) {
        let zone = begun.zone;
        let rcode = rcode_name(code);
        self.answered.get_or_create(&Answered { zone, rcode }).inc();
        let seconds = begun.at.elapsed().as_secs_f64();
        self.seconds.get_or_create(&Zone { zone }).observe(seconds);
    }

    /// Counts a look into the cache.
    pub fn cache(&self, hit: Option<Said>) {
        let r#type = match hit {
            None => {
                self.misses.inc();
                return;
            }
            Some(Said::Success) => "success",
            Some(Said::Denial) => "denial",
        };
        self.hits.get_or_create(&CacheKind { r#type }).inc();
    }

    /// Notes how many responses the cache holds.
    pub fn cached(&self, count: usize) {
        self.cached.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of them in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }
}

/// CoreDNS's buckets: 0.25 ms doubled, up to 8 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// As DNS tools spell it.
fn rcode_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}
