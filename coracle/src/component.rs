//! The components by name, each run by its own crate.

use std::ffi::CString;
use std::pin::Pin;

use anyhow::{Result, bail};
use clap::{Args, Command, Parser};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Names of the components, as commands and as names this program may be called by.
pub const COMPONENTS: [&str; 7] = [
    "apiserver",
    "endpoints-controller",
    "controller-manager",
    "proxy-agent",
    "cluster-dns",
    "node-agent",
    "kubectl",
];

/// The component that a program's name stands for. A link called `kubectl` is the stock
/// client's name; ours goes by `kubectl-lite`.
pub fn by_program_name(name: &str) -> Option<&'static str> {
    match name {
        "kubectl-lite" => Some("kubectl"),
        _ => COMPONENTS.into_iter().find(|component| *component == name),
    }
}

/// Runs a component with `args`, the first of which is its name. Returns the exit status.
pub fn run(name: &'static str, args: Vec<String>) -> Result<u8> {
    if let Ok(short) = CString::new(name) {
        // The process is called what it is; only its first 15 bytes are kept.
        let _ = nix::sys::prctl::set_name(&short);
    }
    match name {
        "apiserver" => serve(name, &args, apiserver::run),
        "endpoints-controller" => serve(name, &args, endpoints_controller::run),
        "controller-manager" => serve(name, &args, controller_manager::run),
        "cluster-dns" => serve(name, &args, cluster_dns::run),
        "proxy-agent" => serve(name, &args, proxy_agent::run),
        "node-agent" => serve(name, &args, node_agent::run),
        "kubectl" => kubectl(&args),
        _ => bail!("{name} is no component"),
    }
}

/// What a component hears when it should end.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Parses a component's options and runs it until a signal asks it to end.
fn serve<O, F>(name: &'static str, args: &[String], run: impl FnOnce(O, Stop) -> F) -> Result<u8>
where
    O: Args,
    F: Future<Output = Result<()>>,
{
    let command = O::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")));
    let matches = command.get_matches_from(args);
    let options = O::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        // Asked for before anything else: a signal during the start is not missed.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::spawn(crate::memory::give_back_at_rest());
        run(options, Box::pin(stop)).await
    });
    // A task that ignores the end must not keep the process.
    runtime.shutdown_background();
    outcome.map(|()| 0)
}

/// The client: one thread, and its own exit statuses.
fn kubectl(args: &[String]) -> Result<u8> {
    let options = kubectl_lite::Options::parse_from(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(kubectl_lite::run(options));
    // A read of standard input that is still waiting must not keep the process.
    std::process::exit(code)
}
