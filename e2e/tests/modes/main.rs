//! S17 and S18: the proxy's mode is changed as the documents do it, by the ConfigMap and by deleting
//! the proxy's pods. In each mode traffic works as in any other, the mode's own tool shows what it
//! programmed, and nothing of the former mode is left.
//!
//! Never runs two tests at once: the mode is the whole lab's.

mod look;
mod switch;

use std::{process::ExitCode, sync::Arc};

use e2e::{
    Client, Cluster, Lab, LabOptions, missing_tool,
    scenarios::{Scenario, affinity, node_port, policies, readiness},
};
use libtest_mimic::{Arguments, Trial};

/// What is seen in every mode; S7's source address where the mode can keep it.
const IN_EVERY_MODE: &[(&str, Scenario)] = &[
    ("s02_all_pods_answer", readiness::mended),
    ("s05_a_client_stays_with_its_pod", affinity::sticky),
    ("s05_affinity_ends_after_its_timeout", affinity::timeout),
    ("s06_a_node_port_answers_on_every_node", node_port::every_node),
    ("s07_internal_traffic_policy_local", policies::internal_local),
];

/// What differs by mode.
const IN_ONE_MODE: &[(&str, &str, Scenario)] = &[
    ("iptables", "s07_external_traffic_policy_local", policies::external_local),
    ("iptables", "s18_the_chains_and_probabilities", look::chains),
    ("userspace", "s02_strictly_in_turn", look::in_turn),
    ("userspace", "s07_external_traffic_policy_local", |lab, client| {
        drop(policies::external_local_answers(lab, client))
    }),
    ("userspace", "s18_the_listeners_are_in_its_table", look::userspace_table),
    ("nftables", "s07_external_traffic_policy_local", policies::external_local),
    ("nftables", "s18_its_table", look::nftables_table),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    for (tool, package) in [("nft", "nftables"), ("iptables-save", "iptables")] {
        if missing_tool(tool, package) {
            return ExitCode::SUCCESS;
        }
    }
    let lab = (!args.list).then(|| Arc::new(Lab::start(LabOptions::default())));
    let clients = lab.as_ref().map(|lab| lab.clients()).unwrap_or_default();
    let client = |at: usize| clients.get(at).or(clients.last()).cloned();
    let mut trials = Vec::new();
    let mut trial = |mode: &'static str, name: &str, by: Option<Client>, run: Scenario| {
        let lab = lab.clone();
        trials.push(Trial::test(format!("{mode}::{name}"), move || {
            if let Some((lab, by)) = lab.zip(by) {
                switch::ensure(&*lab, &by, mode);
                // Namespaces are named after the client: here after the mode.
                run(&*lab, &Client { name: mode, ..by });
            }
            Ok(())
        }));
    };
    // Stock kubectl takes the lab through the modes, kubectl-lite back.
    for mode in ["iptables", "userspace", "nftables"] {
        trial(mode, "s17_switch::kubectl", client(0), |lab, client| {
            switch::is_complete(lab, client, "s17");
        });
        for (name, run) in IN_EVERY_MODE {
            // The lab of all scenarios has them in this mode.
            if mode != "nftables" {
                trial(mode, name, client(0), *run);
            }
        }
        for (_, name, run) in IN_ONE_MODE.iter().filter(|(of, _, _)| *of == mode) {
            trial(mode, name, client(0), *run);
        }
    }
    trial("nftables", "s17_no_ipvs_here", client(0), switch::no_ipvs);
    for mode in ["userspace", "iptables", "nftables"] {
        trial(mode, "s17_switch::lite", client(1), |lab, client| {
            switch::is_complete(lab, client, "s17l");
        });
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if let Some(lab) = lab.filter(|_| conclusion.has_failed()) {
        eprintln!("--- what `up` printed ---\n{}", lab.log());
    }
    conclusion.exit_code()
}
