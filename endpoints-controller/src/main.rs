//! The `endpoints-controller` binary: options and a stop signal around the library.
//!
//! Never does anything `run` could do.

use clap::Parser;

#[derive(Parser)]
#[command(name = "endpoints-controller", about, version)]
struct Cli {
    #[command(flatten)]
    options: endpoints_controller::Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    endpoints_controller::run(Cli::parse().options, client::connect::stop_signal()).await
}
