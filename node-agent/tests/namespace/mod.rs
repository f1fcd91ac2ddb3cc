//! Runs a test inside user, mount, pid, network and UTS namespaces of its own, as root or not.
//!
//! Never sends a packet outside: the network namespace has no link to the machine's.

use std::io::{self, Write};
use std::process::Command;

const INSIDE: &str = "NODE_AGENT_TEST_INSIDE";

/// Runs `body` on a runtime inside fresh namespaces: the test `name` executes itself again there.
pub fn run_inside(name: &str, body: impl AsyncFnOnce()) {
    if std::env::var(INSIDE).as_deref() == Ok(name) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
        return;
    }
    let flags = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--net",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let test = std::env::current_exe().unwrap();
    let probe = Command::new("unshare").args(flags).arg("true").status();
    if !probe.as_ref().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "user namespaces are needed: {probe:?}");
        // Not `eprintln!`, which the harness keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED {name}: unshare does not work here ({probe:?})");
        return;
    }
    let status = Command::new("unshare")
        .args(flags)
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, name)
        .status()
        .unwrap();
    assert!(status.success(), "inside its namespaces the test failed: {status}");
}
