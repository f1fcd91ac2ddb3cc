//! Test programs whose tests share one lab.

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use crate::{Cluster, ContainerLab, leftovers};

/// The command line. Each test keeps its lab busy; more than three at once only make the waits longer.
pub fn arguments() -> Arguments {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(3));
    args
}

/// Names of tests, for `--list` and for a machine on which none can run.
pub fn names<'a>(args: &Arguments, names: impl Iterator<Item = &'a str>) -> ExitCode {
    let trial = |name| Trial::test(name, || Ok(())).with_ignored_flag(!args.list);
    libtest_mimic::run(args, names.map(trial).collect()).exit_code()
}

/// Runs the tests; where one failed, prints what the lab printed.
pub fn run<L: Cluster>(args: &Arguments, lab: Arc<L>, trials: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(args, trials);
    if conclusion.has_failed() {
        eprintln!("--- what the lab printed ---\n{}", lab.log());
    }
    conclusion.exit_code()
}

/// The same; it has failed also where the lab leaves something behind.
pub fn run_in_containers(args: &Arguments, lab: Arc<ContainerLab>, trials: Vec<Trial>) -> ExitCode {
    let code = run(args, lab, trials);
    let left = leftovers();
    if left.is_empty() {
        return code;
    }
    eprintln!("left behind: {left:?}");
    ExitCode::FAILURE
}
