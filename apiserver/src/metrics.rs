//! Counters of the API server, with upstream's names where upstream has them.
//!
//! Never has a label whose values a client can choose freely.

use std::time::Instant;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the request duration histogram, in seconds.
const DURATION_BUCKETS_S: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: u16,
}

/// The server's counters.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Histogram,
    /// Requests under way.
    in_flight: Gauge,
    /// Open watches.
    pub watchers: Gauge,
}

/// A request under way.
pub struct Measured {
    verb: &'static str,
    started: Instant,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Histogram::new(DURATION_BUCKETS_S),
            in_flight: Gauge::default(),
            watchers: Gauge::default(),
        };
        let mut registry = Registry::default();
        registry.register(
            "apiserver_request",
            "Requests answered, by method and status code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time until the head of the response was ready",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests under way, open watches left out",
            metrics.in_flight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Open watches",
            metrics.watchers.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Notes the begin of a request.
    pub fn start(&self, request: &Request<Body>) -> Measured {
        self.in_flight.inc();
        Measured { verb: method_name(request.method()), started: Instant::now() }
    }

    /// The answer to `/metrics`.
    pub fn answer(&self) -> Response<Body> {
        let mut body = String::new();
        if encode(&mut body, &self.registry).is_err() {
            body.clear();
        }
        let mut response = Response::new(Body::from(body));
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

impl Measured {
    /// Notes the end of a request.
    pub fn end(self, metrics: &Metrics, code: StatusCode) {
        metrics.in_flight.dec();
        let labels = RequestLabels { verb: self.verb, code: code.as_u16() };
        metrics.requests.get_or_create(&labels).inc();
        metrics.durations.observe(self.started.elapsed().as_secs_f64());
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
