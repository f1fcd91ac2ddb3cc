//! The scenarios S1–S23 of the source documents on one lab: real packets, real processes, with stock
//! kubectl and with kubectl-lite.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{process::ExitCode, sync::Arc};

use e2e::{Cluster, Lab, LabOptions, scenarios};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Each scenario keeps its lab busy; more at once only makes the waits longer.
    args.test_threads = args.test_threads.or(Some(3));
    if args.list {
        let trials = scenarios::ALL
            .iter()
            .map(|(name, _)| Trial::test(*name, || Ok(())))
            .collect();
        return libtest_mimic::run(&args, trials).exit_code();
    }
    let lab = Arc::new(Lab::start(LabOptions::default()));
    let mut trials = Vec::new();
    for client in lab.clients() {
        for (name, scenario) in scenarios::ALL {
            let (lab, client) = (lab.clone(), client.clone());
            trials.push(Trial::test(format!("{name}::{}", client.name), move || {
                scenario(&*lab, &client);
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if conclusion.has_failed() {
        eprintln!("--- what `up` printed ---\n{}", lab.log());
    }
    conclusion.exit_code()
}
