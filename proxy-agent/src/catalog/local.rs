//! What of a Service is on this node, for others than packets: health checks and
//! counts. Every answer costs one Service's endpoints, whatever the number of Services.

use std::collections::BTreeSet;

use super::choose::choose;
use super::{Catalog, ServiceName, ServicePortName};
use crate::routes::{Destination, Family};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Catalog {
    /// The Services that were computed anew since the last call: each whose answers
    /// here may have changed.
    pub fn take_recomputed(&mut self) -> BTreeSet<ServiceName> {
        std::mem::take(&mut self.recomputed)
    }

    /// A Service's `healthCheckNodePort`, and how many ready endpoints it has on this
    /// node, as upstream's `LocalReadyEndpoints`: those that terminate do not count, so
    /// that the load balancer leaves before they do. An endpoint with an address of each
    /// family counts once.
    pub fn health_check(&self, name: &ServiceName) -> Option<(u16, usize)> {
        let info = self.services.get(name)?;
        let node_port = info.health_check_node_port?;
        let addresses = FAMILIES.map(|family| {
            let ports = info.ports.iter();
            let endpoints = ports.flat_map(|port| self.endpoints_of(name, &port.name, family));
            let here = endpoints.filter(|endpoint| endpoint.ready && endpoint.is_local);
            here.map(|endpoint| endpoint.target.address).collect::<BTreeSet<_>>().len()
        });
        Some((node_port, addresses[0].max(addresses[1])))
    }

    /// For each port of a Service, in each of its families: the traffic policies
    /// (`internal`, `external`) that are `Local` and find no endpoint on this node.
    pub fn without_local_endpoints(&self, name: &ServiceName) -> Vec<(Family, &'static str)> {
        let mut found = Vec::new();
        let Some(info) = self.services.get(name) else {
            return found;
        };
        if !info.internal_local && !info.external_local {
            return found;
        }
        for port in &info.ports {
            for family in FAMILIES {
                let mut addresses = info.cluster_ips.iter();
                if !addresses.any(|address| Family::of(address) == family) {
                    continue;
                }
                let endpoints = self.endpoints_of(name, &port.name, family);
                if !choose(&endpoints, self.place()).local.is_empty() {
                    continue;
                }
                found.extend(info.internal_local.then_some((family, "internal")));
                found.extend(info.external_local.then_some((family, "external")));
            }
        }
        found
    }

    /// The destinations that a Service claims, also those that another one has.
    pub fn destinations_of(&self, name: &ServiceName) -> impl Iterator<Item = &Destination> {
        let claims = self.claims.get(name).into_iter();
        claims.flat_map(|claims| &claims.destinations)
    }

    fn endpoints_of(
        &self,
        service: &ServiceName,
        port: &str,
        family: Family,
    ) -> Vec<crate::catalog::Endpoint> {
        let name = ServicePortName { service: service.clone(), port: port.to_owned() };
        self.endpoints(&name, family)
    }
}

#[cfg(test)]
mod tests;
