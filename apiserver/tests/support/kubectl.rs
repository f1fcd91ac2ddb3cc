//! Stock kubectl against a server of the test's own. Never reads the user's own kubeconfig.

use std::{path::Path, process::Output, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command};

/// A client that hangs fails its test instead of stopping the run.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Runs `kubectl` with words that have no spaces of their own.
pub async fn kubectl(config: &Path, arguments: &str, input: &str) -> Output {
    let mut child = Command::new("kubectl")
        .arg(format!("--kubeconfig={}", config.display()))
        .arg(format!("--cache-dir={}", config.with_extension("cache").display()))
        .args(arguments.split_whitespace())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    tokio::time::timeout(COMMAND_LIMIT, child.wait_with_output()).await.unwrap().unwrap()
}

/// What `kubectl` prints when it succeeds.
pub async fn told(config: &Path, arguments: &str, input: &str) -> String {
    let output = kubectl(config, arguments, input).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
