//! What follows from a Service beside rules: its health check, an Event where the mode
//! cannot do all of it or a part cannot be read, a count of Services without local endpoints. The work of a
//! round is that of the Services that changed. Never programs anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalog::{Catalog, ServiceName};
use crate::events::{Events, Warning};
use crate::health_check_node_port::{HealthCheck, HealthCheckChanges, HealthChecks};
use crate::metrics::Metrics;
use crate::mode::Mode;
use crate::routes::{Family, RouteTable};

/// What was last said and counted of each Service that gave cause.
pub struct Services {
    node_name: String,
    metrics: Arc<Metrics>,
    events: Events,
    health_checks: HealthChecks,
    without_local: HashMap<ServiceName, BTreeMap<(Family, &'static str), i64>>,
    unsupported: HashMap<ServiceName, BTreeSet<&'static str>>,
    unreadable: HashMap<ServiceName, Vec<String>>,
}

impl Services {
    /// Nothing said yet.
    pub fn new(
        node_name: &str,
        metrics: Arc<Metrics>,
        events: Events,
        health_checks: HealthChecks,
    ) -> Services {
        Services {
            node_name: node_name.to_owned(),
            metrics,
            events,
            health_checks,
            without_local: HashMap::new(),
            unsupported: HashMap::new(),
            unreadable: HashMap::new(),
        }
    }

    /// Counts and warns for the Services that changed, once their rules are there;
    /// gives what `answer` must be told.
    pub fn follow(
        &mut self,
        changed: BTreeSet<ServiceName>,
        catalog: &Catalog,
        modes: &[Box<dyn Mode>],
    ) -> HealthCheckChanges {
        for name in &changed {
            self.count(name, catalog);
            self.warn(name, catalog, modes);
            self.warn_unreadable(name, catalog);
        }
        let checks = changed.into_iter().map(|name| {
            let check = catalog.health_check(&name);
            let check = check.map(|(port, local_endpoints)| HealthCheck { port, local_endpoints });
            (name, check)
        });
        checks.collect()
    }

    /// Has the health checks of these Services answered.
    pub async fn answer(&mut self, changes: HealthCheckChanges) {
        self.health_checks.update(changes).await;
    }

    fn count(&mut self, name: &ServiceName, catalog: &Catalog) {
        let mut now: BTreeMap<(Family, &'static str), i64> = BTreeMap::new();
        for (family, policy) in catalog.without_local_endpoints(name) {
            *now.entry((family, policy)).or_default() += 1;
        }
        let before = if now.is_empty() {
            self.without_local.remove(name)
        } else {
            self.without_local.insert(name.clone(), now.clone())
        };
        let before = before.unwrap_or_default();
        for (&(family, policy), count) in &before {
            self.metrics.moved_no_local_endpoints(family, policy, -count);
        }
        for (&(family, policy), count) in &now {
            self.metrics.moved_no_local_endpoints(family, policy, *count);
        }
    }

    /// Once for each change of what cannot be read.
    fn warn_unreadable(&mut self, name: &ServiceName, catalog: &Catalog) {
        let ranges = catalog.service(name).map(|service| &service.source_ranges);
        let unreadable = ranges.map_or(&[][..], |ranges| &ranges.unreadable);
        if unreadable.is_empty() {
            self.unreadable.remove(name);
        } else if self.unreadable.get(name).map(Vec::as_slice) != Some(unreadable) {
            self.events.warn(Warning {
                service: name.clone(),
                reason: "InvalidSourceRange",
                note: format!(
                    "node {} lets nobody in by what is no network in spec.loadBalancerSourceRanges: {unreadable:?}",
                    self.node_name
                ),
            });
            self.unreadable.insert(name.clone(), unreadable.to_vec());
        }
    }

    /// Once for each change of what cannot be done.
    fn warn(&mut self, name: &ServiceName, catalog: &Catalog, modes: &[Box<dyn Mode>]) {
        let mut cannot = BTreeSet::new();
        for to in catalog.destinations_of(name) {
            let Some(routes) = catalog.routes(to) else {
                continue;
            };
            cannot.extend(modes.iter().filter_map(|mode| mode.cannot(to, routes)));
        }
        if cannot.is_empty() {
            self.unsupported.remove(name);
        } else if self.unsupported.get(name) != Some(&cannot) {
            let reasons: Vec<&str> = cannot.iter().copied().collect();
            let mode = modes.first().map_or("", |mode| mode.name());
            self.events.warn(Warning {
                service: name.clone(),
                reason: "UnsupportedByProxyMode",
                note: format!("node {}, mode {mode}: {}", self.node_name, reasons.join("; ")),
            });
            self.unsupported.insert(name.clone(), cannot);
        }
        let count = i64::try_from(self.unsupported.len()).unwrap_or(i64::MAX);
        self.metrics.unsupported_services.set(count);
    }
}

#[cfg(test)]
mod tests;
