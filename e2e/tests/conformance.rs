//! The conformance suites on one lab, with real packets and kubectl-lite.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{fs, path::Path, process::ExitCode, sync::Arc};

use e2e::{
    Cluster, Lab, LabOptions,
    conformance::{SUITES, Test},
    missing_tool,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// What the suites borrow from the machine: program and Debian package.
const TOOLS: [(&str, &str); 3] = [
    ("bash", "bash"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
];

fn all() -> impl Iterator<Item = (&'static str, Test)> {
    SUITES.iter().flat_map(|suite| suite.iter().copied())
}

/// Every test has a row in the document, and every row that names one names one that is there.
fn document_is_true() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md");
    let text = fs::read_to_string(path)?;
    let areas = [
        "service_",
        "endpoints_",
        "endpointslice_",
        "dns_",
        "api_",
        "networking_",
    ];
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .filter(|word| areas.iter().any(|area| word.starts_with(area)))
        .collect();
    for (name, _) in all() {
        if !named.contains(&name) {
            return Err(format!("{name} has no row in CONFORMANCE.md").into());
        }
    }
    for name in named {
        if !all().any(|(test, _)| test == name) {
            return Err(format!("CONFORMANCE.md names {name}, which is no test").into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Each test keeps its lab busy; more at once only makes the waits longer.
    args.test_threads = args.test_threads.or(Some(3));
    let mut trials = vec![Trial::test("the_document_is_true", document_is_true)];
    if args.list {
        trials.extend(all().map(|(name, _)| Trial::test(name, || Ok(()))));
        return libtest_mimic::run(&args, trials).exit_code();
    }
    if TOOLS
        .iter()
        .any(|(tool, package)| missing_tool(tool, package))
    {
        return libtest_mimic::run(&args, trials).exit_code();
    }
    let lab = Arc::new(Lab::start(LabOptions::default()));
    for (name, test) in all() {
        let (lab, client) = (lab.clone(), lab.lite());
        trials.push(Trial::test(name, move || {
            test(&*lab, &client);
            Ok(())
        }));
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if conclusion.has_failed() {
        eprintln!("--- what `up` printed ---\n{}", lab.log());
    }
    conclusion.exit_code()
}
