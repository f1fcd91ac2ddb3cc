//! The scenarios of the source documents on a lab in containers, on etcd: the code that runs on the
//! lab without containers.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{process::ExitCode, sync::Arc};

use e2e::{Cluster, ComposeOptions, ContainerLab, leftovers, missing_docker, scenarios};
use libtest_mimic::{Arguments, Trial};

/// Scenarios that need more than the lab in containers has: an address that the network leads to a
/// node, and a node that takes no ordinary pods.
const NOT_HERE: [&str; 2] = [
    "s08_a_load_balancers_address_and_source_ranges",
    "a_daemon_set_has_one_pod_a_node",
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(3));
    let here = || {
        scenarios::ALL
            .iter()
            .filter(|(name, _)| !NOT_HERE.contains(name))
    };
    if args.list || missing_docker() {
        let trials =
            here().map(|(name, _)| Trial::test(*name, || Ok(())).with_ignored_flag(!args.list));
        return libtest_mimic::run(&args, trials.collect()).exit_code();
    }
    let lab = Arc::new(ContainerLab::compose(&ComposeOptions::default()));
    let mut trials = Vec::new();
    for client in lab.clients() {
        for (name, scenario) in here() {
            let (lab, client) = (lab.clone(), client.clone());
            trials.push(Trial::test(format!("{name}::{}", client.name), move || {
                scenario(&*lab, &client);
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if conclusion.has_failed() {
        eprintln!("{}", lab.log());
    }
    drop(Arc::into_inner(lab));
    let left = leftovers();
    if !left.is_empty() {
        eprintln!("left behind: {left:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
