//! The conformance suites on one lab, with real packets and kubectl-lite.
//!
//! Never shares an object between tests: each has a namespace of its own.

use std::{fs, path::Path, process::ExitCode, sync::Arc};

use e2e::{
    Lab, LabOptions,
    conformance::{all, trials},
    missing_tool, suite,
};
use libtest_mimic::{Failed, Trial};

/// What the suites borrow from the machine: program and Debian package.
const TOOLS: [(&str, &str); 3] = [("bash", "bash"), ("curl", "curl"), ("dig", "bind9-dnsutils")];

/// Every test has a row in the document, and every row that names one names one that is there.
fn document_is_true() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md");
    let text = fs::read_to_string(path)?;
    let areas = ["service_", "endpoints_", "endpointslice_", "dns_", "api_", "networking_"];
    let quoted = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> =
        quoted.filter(|word| areas.iter().any(|area| word.starts_with(area))).collect();
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
    let args = suite::arguments();
    let document = Trial::test("the_document_is_true", document_is_true);
    if args.list {
        let names = ["the_document_is_true"].into_iter();
        return suite::names(&args, names.chain(all().map(|(name, _)| name)));
    }
    let is_missing = |(tool, package)| missing_tool(tool, package);
    if TOOLS.into_iter().any(is_missing) {
        return libtest_mimic::run(&args, vec![document]).exit_code();
    }
    let lab = Arc::new(Lab::start(LabOptions::default()));
    let mut trials = trials(&lab);
    trials.push(document);
    suite::run(&args, lab, trials)
}
