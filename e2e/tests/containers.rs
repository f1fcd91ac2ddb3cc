//! The scenarios of the source documents and the conformance suites on the lab of `lab/compose`, on
//! etcd: the code that runs on the lab without containers.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{process::ExitCode, sync::Arc};

use e2e::{ComposeOptions, ContainerLab, conformance, missing_docker, scenarios, suite};

/// Scenarios that need more than the lab in containers has: an address that the network leads to a
/// node, and a node that takes no ordinary pods.
const NOT_HERE: [&str; 2] =
    ["s08_a_load_balancers_address_and_source_ranges", "a_daemon_set_has_one_pod_a_node"];

fn is_here(name: &str) -> bool {
    !NOT_HERE.contains(&name)
}

fn main() -> ExitCode {
    let args = suite::arguments();
    if args.list || missing_docker() {
        let scenarios = scenarios::ALL.iter().map(|(name, _)| *name);
        let conformance = conformance::all().map(|(name, _)| name);
        return suite::names(&args, scenarios.filter(|name| is_here(name)).chain(conformance));
    }
    let lab = Arc::new(ContainerLab::compose(&ComposeOptions::default()));
    let mut trials = scenarios::trials(&lab, is_here);
    trials.extend(conformance::trials(&lab));
    suite::run_in_containers(&args, lab, trials)
}
