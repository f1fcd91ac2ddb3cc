//! What upstream's conformance and end-to-end tests say of Services, Endpoints, EndpointSlices and
//! DNS, as tests of our own: `e2e/CONFORMANCE.md` has the list of both.
//!
//! Never asks what mode the proxy has or what a node is: what must be seen is the same on each.

mod api;
mod bench;
mod dns;
mod endpoint_sets;
mod endpoints;
mod kube_client;
mod networking;
mod objects;
mod root_ca;
mod service_affinity;
mod service_basic;
mod service_policies;
mod service_readiness;
mod service_types;
mod service_udp;
mod site;

pub use site::Site;

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::{Client, Cluster};

/// One test: it makes a namespace of its own on the site, through this client.
pub type Test = fn(&Site, &Client);

/// The tests of each file, by name.
pub const SUITES: &[&[(&str, Test)]] = &[
    service_basic::TESTS,
    service_types::TESTS,
    service_affinity::TESTS,
    service_readiness::TESTS,
    service_policies::TESTS,
    service_udp::TESTS,
    networking::TESTS,
    endpoints::TESTS,
    dns::TESTS,
    api::TESTS,
    root_ca::TESTS,
];

/// All tests, by name.
pub fn all() -> impl Iterator<Item = (&'static str, Test)> {
    SUITES.iter().flat_map(|suite| suite.iter().copied())
}

/// All tests on a lab, by kubectl-lite.
pub fn trials<L: Cluster + 'static>(lab: &Arc<L>) -> Vec<Trial> {
    let trial = |(name, test): (&'static str, Test)| {
        let (lab, client) = (lab.clone(), lab.lite());
        Trial::test(name, move || {
            test(&*lab, &client);
            Ok(())
        })
    };
    all().map(trial).collect()
}
