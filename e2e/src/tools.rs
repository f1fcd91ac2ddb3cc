//! Programs that tests borrow from the machine, and what happens without them.
//!
//! Never skips in silence: a missing tool is a loud line locally, and a failure where `CI` is set.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
};

/// Where a program is, by the PATH.
fn find(program: &str) -> Option<PathBuf> {
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
    // Not `eprintln!`: the test harness would keep it to itself.
    let _ = writeln!(io::stderr(), "\n*** SKIPPED: {text} ***\n");
    true
}

/// The stock kubectl, if the machine has one.
pub fn stock_kubectl() -> Option<PathBuf> {
    if missing_tool("kubectl", "kubernetes-client") {
        None
    } else {
        find("kubectl")
    }
}
