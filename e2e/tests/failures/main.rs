//! Each part of a cluster in containers is killed and paused in turn, under a writer and a client of
//! a Service: what is lost, and how long it takes until all of it works again.
//!
//! Never asserts a time. `CORACLE_RECORD=1` writes what was seen to `e2e/FAILURES.md`.

mod faults;
mod table;
mod writer;

use std::{process::ExitCode, sync::Arc};

use e2e::{Cluster, ContainerLab, Topology, leftovers, missing_docker};
use libtest_mimic::{Arguments, Trial};

use table::Table;

/// Two etcd members are a majority of three; a node that is lost leaves two.
fn topology() -> Topology {
    Topology::new()
        .etcd(3)
        .api_servers(2)
        .controllers(2)
        .nodes(3)
        .node_grace_s(faults::NODE_GRACE_S)
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Each fault is looked at alone.
    args.test_threads = Some(1);
    if args.list || missing_docker() {
        let trials = faults::ALL
            .iter()
            .map(|fault| Trial::test(fault.name(), || Ok(())).with_ignored_flag(!args.list));
        return libtest_mimic::run(&args, trials.collect()).exit_code();
    }
    let lab = Arc::new(ContainerLab::start(&topology()));
    let table = Arc::new(Table::default());
    faults::prepare(&lab);
    let trials = faults::ALL
        .iter()
        .map(|fault| {
            let (lab, table) = (lab.clone(), table.clone());
            Trial::test(fault.name(), move || {
                table.add(fault.try_out(&lab));
                Ok(())
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if conclusion.has_failed() {
        eprintln!("{}", lab.log());
    } else {
        table.show(std::env::var_os("CORACLE_RECORD").is_some());
    }
    drop(Arc::into_inner(lab));
    let left = leftovers();
    if !left.is_empty() {
        eprintln!("left behind: {left:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
