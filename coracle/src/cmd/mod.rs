//! The command line: one file a command.

pub mod down;
pub mod enter;
pub mod exec;
pub mod status;
pub mod up;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::component;
use crate::demo_web;
use crate::lab::launch::{SUPERVISOR_VERB, supervisor_main};

const EXAMPLES: &str = "\
Examples:
  coracle up --detach                          # a cluster of three nodes
  coracle exec worker-1 -- curl -s 10.96.0.1   # from inside a node
  coracle kubectl get services -A              # a component: each has --help of its own
  coracle down

Components: apiserver, endpoints-controller, controller-manager, proxy-agent, cluster-dns,
node-agent, kubectl";

const UP_EXAMPLES: &str = "\
Examples:
  coracle up                                   # stays in the foreground; Ctrl-C ends the lab
  coracle up --detach --nodes 3                # returns when all is ready
  coracle up --nodes 1                         # again, with fewer nodes: the others are removed
  coracle up --data-dir ./other --detach       # a second lab beside the first
  coracle up --service-cidr 172.30.0.0/16 --pod-cidr 10.0.0.0/16 --data-dir ./ranges";

const DOWN_EXAMPLES: &str = "\
Examples:
  coracle down                                 # `coracle up` brings the same cluster back
  coracle down --data-dir ./other";

const STATUS_EXAMPLES: &str = "\
Examples:
  coracle status                               # exit status 3 where no lab runs
  coracle status --data-dir ./other";

const EXEC_EXAMPLES: &str = "\
Examples:
  coracle exec worker-1                        # a shell
  coracle exec worker-1 -- curl -s CLUSTER_IP/hostname.html
  coracle exec outside -- curl -s 192.168.77.11:NODE_PORT/
  coracle exec control-plane -- nft list ruleset
  coracle exec worker-2 -- dig +short kubernetes.default.svc.cluster.local @10.96.0.10";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(coracle completions bash)";

/// Kubernetes' Service stack in one program, and a lab to run it in without root.
#[derive(Parser)]
#[command(
    name = "coracle",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster: control plane, workers and DNS, in namespaces of its own.
    #[command(after_help = UP_EXAMPLES)]
    Up(up::Options),
    /// End a running lab.
    #[command(after_help = DOWN_EXAMPLES)]
    Down(LabArgs),
    /// Show whether a lab runs, and its nodes.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(LabArgs),
    /// Run one of this machine's programs inside a node, or `outside` the cluster.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(exec::Options),
    /// Be one member of a cluster whose members are containers.
    Member {
        /// Which one.
        #[command(subcommand)]
        role: crate::containers::Role,
    },
    /// The demo image's web server.
    DemoWeb(demo_web::Options),
    /// Print the version.
    Version,
    /// Print a shell's completion script.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Run a component inside a node of the lab.
    #[command(hide = true)]
    Enter(enter::Options),
    /// A component: apiserver, endpoints-controller, controller-manager, proxy-agent,
    /// cluster-dns, node-agent, kubectl.
    #[command(external_subcommand)]
    Component(Vec<String>),
}

/// Which lab.
#[derive(Args, Clone, Debug)]
pub struct LabArgs {
    /// Directory of the lab; by default $XDG_DATA_HOME/coracle/default or
    /// ~/.local/share/coracle/default.
    #[arg(long, value_name = "DIR", env = "CORACLE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Runs the program with its arguments, the first one being its own name. Returns the
/// exit status.
pub fn main(args: Vec<String>) -> Result<u8> {
    let program = args.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    if let Some(name) = component::by_program_name(program) {
        return component::run(name, args);
    }
    // Started by way of /proc/self/exe, a process is called `exe`.
    let _ = nix::sys::prctl::set_name(c"coracle");
    match args.get(1).map(String::as_str) {
        Some(SUPERVISOR_VERB) => {
            supervisor_main(args.get(2..).unwrap_or_default())?;
            return Ok(0);
        }
        Some(verb) => {
            if let Some(name) = component::COMPONENTS.into_iter().find(|name| *name == verb) {
                return component::run(name, args[1..].to_vec());
            }
        }
        None => {}
    }
    dispatch(Cli::parse_from(args))
}

fn dispatch(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Up(options) => up::run(options).map(|()| 0),
        Command::Down(lab) => down::run(&lab).map(|()| 0),
        Command::Status(lab) => status::run(&lab),
        Command::Exec(options) => exec::run(options),
        Command::Enter(options) => enter::run(options),
        Command::Member { role } => crate::containers::run(role),
        Command::DemoWeb(options) => {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(demo_web::run(options))?;
            Ok(0)
        }
        Command::Version => {
            println!("coracle {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "coracle", &mut std::io::stdout());
            Ok(0)
        }
        Command::Component(words) => {
            let name = words.first().map(String::as_str).unwrap_or_default();
            let error = Cli::command().error(
                clap::error::ErrorKind::InvalidSubcommand,
                format!(
                    "`{name}` is no command and no component ({})",
                    component::COMPONENTS.join(", ")
                ),
            );
            error.exit()
        }
    }
}
