//! How every program of the project starts and ends: options, log, signal to stop, exit status.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The options of a program.
pub trait Program: Args {
    /// What it is called.
    const NAME: &'static str;

    /// What is logged where RUST_LOG says nothing.
    fn log_level(&self) -> &'static str {
        "info"
    }
}

/// Resolves when a program should end.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A program's `main`: runs it with the arguments of this process.
pub fn main<O, F>(run: impl FnOnce(O, Stop) -> F) -> ExitCode
where
    O: Program,
    F: Future<Output = anyhow::Result<()>>,
{
    match run_with(std::env::args_os(), run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Parses `args`, of which the first is the program's name, and runs until it ends or a signal
/// asks it to. Arguments that cannot be read end the process.
///
/// # Errors
/// What `run` ends with.
pub fn run_with<O, F>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    run: impl FnOnce(O, Stop) -> F,
) -> anyhow::Result<()>
where
    O: Program,
    F: Future<Output = anyhow::Result<()>>,
{
    let command = O::augment_args(Command::new(O::NAME).version(env!("CARGO_PKG_VERSION")));
    let matches = command.get_matches_from(args);
    let options = O::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(options.log_level()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        // Asked for before anything else: a signal during the start is not missed.
        let stop = stop_signal()?;
        run(options, Box::pin(stop)).await
    });
    // A task that ignores the end must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Listens from now on; resolves with the first SIGTERM or SIGINT.
///
/// # Errors
/// The process cannot listen for signals.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
