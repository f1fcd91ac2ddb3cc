//! `exec`: a command in a container, with its exit code as ours. Never starts a
//! shell by itself.

use std::io::IsTerminal;

use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, TerminalSize};
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::{Context, pods};

const EXAMPLES: &str = "Examples:
  kubectl-lite exec web-1 -- cat /etc/resolv.conf
  kubectl-lite exec -it web-1 -c server -- sh
  echo hello | kubectl-lite exec -i deployment/web -- cat";

/// Bytes copied at once, each way.
const COPY_BYTES: usize = 32 * 1024;

/// Execute a command in a container
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// POD or TYPE/NAME
    pub resource: String,
    /// Container
    #[arg(long, short)]
    pub container: Option<String>,
    /// Pass standard input
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// Standard input is a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Only the command's own output
    #[arg(long, short)]
    pub quiet: bool,
    /// The command, after --
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs `exec`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let pod = pods::find(context, &arguments.resource).await?;
    if let phase @ ("Succeeded" | "Failed") = pods::phase(&pod) {
        return Err(Error::message(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = pods::container(&pod, arguments.container.as_deref())?;
    let tty = arguments.tty && arguments.stdin && std::io::stdin().is_terminal();
    if arguments.tty && !tty {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let parameters = AttachParams::default()
        .container(container)
        .stdin(arguments.stdin)
        .stdout(true)
        // A terminal has one stream for both.
        .stderr(!tty)
        .tty(tty)
        .max_stdin_buf_size(COPY_BYTES)
        .max_stdout_buf_size(COPY_BYTES)
        .max_stderr_buf_size(COPY_BYTES);
    let api: Api<Pod> = Api::namespaced(context.server.client(), context.namespace());
    let mut process =
        api.exec(pods::name(&pod), &arguments.command, &parameters).await.map_err(refused)?;
    let _raw = tty.then(RawTerminal::enter).flatten();
    if tty && let Some(sizes) = process.terminal_size() {
        tokio::spawn(follow_size(sizes));
    }
    if let Some(mut stdin) = process.stdin() {
        tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            let mut buffer = vec![0; COPY_BYTES];
            while let Ok(length @ 1..) = input.read(&mut buffer).await {
                if stdin.write_all(&buffer[..length]).await.is_err() || stdin.flush().await.is_err()
                {
                    return;
                }
            }
            // Dropping alone does not end the command's input.
            let _ = stdin.shutdown().await;
        });
    }
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (out, err) =
        tokio::join!(copy(stdout, tokio::io::stdout()), copy(stderr, tokio::io::stderr()),);
    out?;
    err?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    finish(status)
}

async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl tokio::io::AsyncWrite + Unpin,
) -> Result {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}

/// Zero, the command's own code, or what kept it from running.
fn finish(status: Option<Status>) -> Result {
    let Some(status) = status else {
        return Err(Error::message("the connection ended before the command did"));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|it| it.causes.iter().flatten());
    let mut codes = causes.filter(|it| it.reason.as_deref() == Some("ExitCode"));
    let code = codes.find_map(|it| it.message.as_ref()?.parse::<i32>().ok());
    match code {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Err(Error::Exit(code))
        }
        None => Err(Error::message(status.message.unwrap_or_else(|| "unknown".to_owned()))),
    }
}

fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => Error::Status {
            status: serde_json::to_value(&*status).unwrap_or_default(),
            doing: None,
        },
        other => Error::message(other.to_string()),
    }
}

/// Tells the other side the terminal's size, now and whenever it changes.
async fn follow_size(mut sizes: futures::channel::mpsc::Sender<TerminalSize>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
            let size = TerminalSize { width: size.ws_col, height: size.ws_row };
            if sizes.send(size).await.is_err() {
                return;
            }
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// The terminal without its own editing and signals; given back when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let former = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = former.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(former))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
