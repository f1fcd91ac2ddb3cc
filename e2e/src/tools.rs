//! Programs that tests borrow from the machine, and what happens without them.
//!
//! Never skips in silence: a missing tool is a loud line locally, and a failure where `CI` is set.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use crate::Output;

/// Where a program is, by the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Whether a program is missing; says so loudly. Panics where `CI=true`: there, every tool is
/// installed before the tests.
pub fn missing_tool(program: &str, package: &str) -> bool {
    if find(program).is_some() {
        return false;
    }
    let text = format!("{program} is not installed (Debian package: {package})");
    assert!(env::var_os("CI").is_none(), "{text}");
    say(&format!("SKIPPED: {text}"));
    true
}

/// A line that nobody misses. Not `eprintln!`: the test harness would keep it to itself.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "\n*** {text} ***\n");
}

/// The stock kubectl and its minor version, if the machine has one.
pub fn stock_kubectl() -> Option<(PathBuf, u32)> {
    if missing_tool("kubectl", "kubernetes-client") {
        return None;
    }
    let program = find("kubectl")?;
    let mut command = Command::new(&program);
    let version = Output::of(command.args(["version", "--client", "-o", "json"])).ok();
    let version: Value =
        serde_json::from_str(&version).expect("kubectl prints its version as JSON");
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    // Some builds say `20+`.
    let minor = minor.trim_end_matches('+').parse();
    Some((program, minor.unwrap_or_else(|error| panic!("{version}: {error}"))))
}
