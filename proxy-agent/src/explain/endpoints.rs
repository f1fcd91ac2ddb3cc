//! Which of a Service's endpoints are used, and why the others are not: the reasons
//! behind `catalog::choose`, told from the same facts.

use super::answer::{Decision, Unused};
use crate::catalog::{Catalog, Endpoint, Prefer, ServicePortName, preference};
use crate::routes::{Family, Policy, Route};

/// The Service port's endpoints that the route does not use.
pub fn unused(
    catalog: &Catalog,
    port: &ServicePortName,
    family: Family,
    route: &Route,
) -> Vec<Unused> {
    let endpoints = catalog.endpoints(port, family);
    let prefer = preference(&endpoints, catalog.place());
    let unused = endpoints.iter().filter(|e| !route.endpoints.contains(&e.target));
    unused
        .map(|endpoint| {
            let (field, because) = why_not(catalog, endpoint, route, prefer);
            Unused { address: endpoint.target.to_string(), field: field.to_owned(), because }
        })
        .collect()
}

fn why_not(
    catalog: &Catalog,
    endpoint: &Endpoint,
    route: &Route,
    prefer: Prefer,
) -> (&'static str, String) {
    let place = catalog.place();
    if route.policy == Policy::Local && !endpoint.is_local {
        return ("endpoints[].nodeName", format!("not on {}", place.node_name));
    }
    if !endpoint.ready {
        return match (endpoint.terminating, endpoint.serving) {
            (true, true) => (
                "endpoints[].conditions.terminating",
                "terminating, and others are ready".to_owned(),
            ),
            (true, false) => (
                "endpoints[].conditions.serving",
                "terminating, and does not serve any more".to_owned(),
            ),
            (false, _) => ("endpoints[].conditions.ready", "not ready".to_owned()),
        };
    }
    match prefer {
        Prefer::Node if route.policy == Policy::Cluster => (
            "endpoints[].hints.forNodes",
            format!("hinted for {}", endpoint.hints.nodes.join(", ")),
        ),
        Prefer::Zone if route.policy == Policy::Cluster => (
            "endpoints[].hints.forZones",
            format!("hinted for zone {}", endpoint.hints.zones.join(", ")),
        ),
        _ => ("endpoints[]", "more than can be used".to_owned()),
    }
}

/// What made the choice among the endpoints, where anything but readiness did.
pub fn choice(
    catalog: &Catalog,
    port: &ServicePortName,
    family: Family,
    route: &Route,
) -> Vec<Decision> {
    let endpoints = catalog.endpoints(port, family);
    let place = catalog.place();
    let mut decisions = Vec::new();
    let slice = |field: &str, value: &str, says: &str| Decision {
        object: format!("EndpointSlices of {}", port.service),
        field: field.to_owned(),
        value: value.to_owned(),
        says: says.to_owned(),
    };
    if route.policy == Policy::Cluster {
        match preference(&endpoints, place) {
            Prefer::Node => decisions.push(slice(
                "endpoints[].hints.forNodes",
                place.node_name,
                "only endpoints hinted for this node",
            )),
            Prefer::Zone => decisions.push(slice(
                "endpoints[].hints.forZones",
                place.zone,
                "only endpoints hinted for this node's zone",
            )),
            Prefer::All => {}
        }
    }
    let is_used = |e: &&Endpoint| route.endpoints.contains(&e.target);
    let used: Vec<&Endpoint> = endpoints.iter().filter(is_used).collect();
    if !used.is_empty() && used.iter().all(|e| !e.ready) {
        decisions.push(slice(
            "endpoints[].conditions.terminating",
            "true",
            "none is ready: those that terminate and still serve are used",
        ));
    }
    decisions
}
