//! Runs the agent's own binary. Never leaves one behind.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The agent with these arguments.
pub fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxy-agent"));
    command.args(arguments).env("RUST_LOG", "info");
    command
}

/// What it prints and its status, with `input` as standard input.
pub fn run_with(arguments: &[&str], input: &str) -> Output {
    let mut child = agent(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent's own binary");
    let mut stdin = child.stdin.take().expect("its standard input");
    // It may have ended without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its end")
}

/// Standard output and standard error as text.
pub fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
