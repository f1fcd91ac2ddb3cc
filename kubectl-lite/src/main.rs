//! The `kubectl-lite` binary. Never holds logic.

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let options = kubectl_lite::Options::parse();
    let code = kubectl_lite::run(options).await;
    // A read of standard input that is still waiting must not keep the process.
    std::process::exit(code)
}
