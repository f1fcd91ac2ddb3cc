//! Each part of a cluster in containers is killed and paused in turn, under a writer and a client of
//! a Service: what is lost, and how long it takes until all of it works again.
//!
//! Never asserts a time. `CORACLE_RECORD=1` writes what was seen to `e2e/FAILURES.md`.

mod faults;
mod table;
mod writer;

use std::{process::ExitCode, sync::Arc};

use e2e::{ContainerLab, Topology, missing_docker, suite};
use libtest_mimic::Trial;

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
    let mut args = suite::arguments();
    // Each fault is looked at alone.
    args.test_threads = Some(1);
    if args.list || missing_docker() {
        let names: Vec<String> = faults::ALL.iter().map(faults::Fault::name).collect();
        return suite::names(&args, names.iter().map(String::as_str));
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
    let code = suite::run_in_containers(&args, lab, trials);
    if code == ExitCode::SUCCESS {
        table.show(std::env::var_os("CORACLE_RECORD").is_some());
    }
    code
}
