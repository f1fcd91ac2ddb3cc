//! The `controller-manager` binary: options and a stop signal around the library.
//!
//! Never does anything `run` could do.

use clap::Parser;

#[derive(Parser)]
#[command(name = "controller-manager", about, version)]
struct Cli {
    #[command(flatten)]
    options: controller_manager::Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    controller_manager::run(Cli::parse().options, client::connect::stop_signal()).await
}
