//! What is taken away of mode `iptables`, by which programs, and what is an error then.
//! Never in the namespace that the tests came from.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::programs::Programs;
use proxy_agent::mode::iptables::{remove, remove_all};
use proxy_agent::routes::Dirty;

use super::super::{network, objects, table};
use super::kernel::Backend;

/// A program that does this.
fn script(place: &Path, name: &str, does: &str) -> PathBuf {
    let path = place.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("an executable");
    path
}

/// Programs of which the first fails with these words.
fn failing(place: &Path, says: &str) -> Programs {
    let save = format!("echo 'iptables-save v1.8.9: {says}' >&2; exit 4");
    Programs::at(script(place, "save", &save), place.join("never-run"))
}

#[test]
fn rules_that_cannot_be_read_are_not_taken_for_none() {
    let place = tempfile::tempdir().expect("a directory");
    let removed = |says: &str| remove(&mut failing(place.path(), says)).ok();
    let generation = "Could not fetch rule set generation id: ";
    for says in ["Permission denied (you must be root)", "Resource temporarily unavailable"] {
        assert_eq!(removed(&format!("{generation}{says}")), None, "{says}");
    }
    // The kernel can have none.
    for says in ["Protocol not supported", "Operation not supported"] {
        assert_eq!(removed(&format!("{generation}{says}")), Some(false), "{says}");
    }
    let missing = place.path().join("missing");
    let mut missing = Programs::at(missing.clone(), missing);
    assert!(matches!(remove(&mut missing), Ok(false)));
}

/// The kernel lists the legacy tables for the host's root alone.
#[test]
fn in_a_user_namespace_there_are_no_legacy_rules() {
    let name = "iptables::removal::in_a_user_namespace_there_are_no_legacy_rules";
    network::in_namespaces(name, || {
        let place = tempfile::tempdir().expect("a directory");
        let says = "Failed to list table names in /proc/net/ip_tables_names: Permission denied";
        let removed = remove(&mut failing(place.path(), says));
        assert!(matches!(removed, Ok(false)), "{removed:?}");
    });
}

#[test]
fn a_backend_that_fails_keeps_no_other_from_being_removed() {
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let save = "printf '*nat\\n:KUBE-SERVICES - [0:0]\\nCOMMIT\\n'";
    let works = Programs::at(
        script(place.path(), "works-save", save),
        script(place.path(), "works-restore", &format!("cat >> {}", log.display())),
    );
    let fails = failing(place.path(), "Resource temporarily unavailable");
    for backends in [[fails.clone(), works.clone()], [works, fails]] {
        let _ = std::fs::remove_file(&log);
        let error = remove_all(backends.to_vec()).expect_err("one failed");
        let error = format!("{error:#}");
        assert!(error.contains("temporarily unavailable"), "{error}");
        let done = std::fs::read_to_string(&log).expect("the other was told");
        assert!(done.contains("-X KUBE-SERVICES"), "{done}");
    }
}

#[test]
fn a_trial_waits_for_others_that_change_rules() {
    let place = tempfile::tempdir().expect("a directory");
    let restore = "case \"$*\" in
        *--version*) echo 'iptables-restore v1.8.9 (legacy)';;
        *--wait\\ 5*) ;;
        *) echo 'Another app is currently holding the xtables lock.' >&2; exit 4;;
        esac";
    let programs = Programs::at(
        script(place.path(), "save", "true"),
        script(place.path(), "restore", restore),
    );
    programs.tried().expect("it has waited");
}

#[test]
fn the_rules_of_every_backend_go() {
    let name = "iptables::removal::the_rules_of_every_backend_go";
    network::in_namespaces(name, || {
        let place = tempfile::tempdir().expect("a directory");
        let found = ["nft", "legacy"].map(|name| Backend::new(name, place.path()));
        let mut backends: Vec<Backend> = found.into_iter().flatten().collect();
        assert!(!backends.is_empty(), "install the package iptables");
        let objects = "svc web 10.96.0.10 80/tcp\nep web 10.244.1.11:8080 node-1";
        let catalog = table::catalog_of(objects::changes(objects));
        for backend in &mut backends {
            let mut mode = backend.mode();
            mode.sync(&catalog, &Dirty::default()).expect("synced");
            assert!(backend.has_ours());
        }
        let output = Command::new(env!("CARGO_BIN_EXE_proxy-agent"))
            .arg("cleanup")
            .env("XTABLES_LOCKFILE", place.path().join("lock"))
            .output()
            .expect("the agent's own binary");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("iptables IPv4: removed\n"), "{said}");
        for backend in &mut backends {
            assert!(!backend.has_ours(), "of one backend something is left");
        }
    });
}
