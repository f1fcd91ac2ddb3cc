//! The API server as a program of its own.
//!
//! Never holds logic: see the library.

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = apiserver::Options::parse();
    apiserver::run(options, apiserver::stop_signal()).await
}
