//! The scenarios S1–S23 of the source documents on one lab: real packets, real processes, with stock
//! kubectl and with kubectl-lite.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{process::ExitCode, sync::Arc};

use e2e::{Lab, LabOptions, scenarios, suite};

fn main() -> ExitCode {
    let args = suite::arguments();
    if args.list {
        return suite::names(&args, scenarios::ALL.iter().map(|(name, _)| *name));
    }
    let lab = Arc::new(Lab::start(LabOptions::default()));
    let trials = scenarios::trials(&lab, |_| true);
    suite::run(&args, lab, trials)
}
