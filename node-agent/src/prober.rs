//! Probes a container from its node: HTTP, TCP, or a command inside.
//!
//! One task a probe, ended with its container instance. Never decides what a failure means.

use std::sync::Arc;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::context::Context;
use crate::events::Severity;
use crate::probe::{Early, ProbeKind, Tally, Timing};
use crate::runtime::Output;
use crate::shim::spec::ExecSpec;

/// One probe of one container instance.
#[derive(Clone)]
pub struct Target {
    /// The pod's UID on this node.
    pub uid: String,
    /// The pod, for events.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// The instance.
    pub id: String,
    /// Where the container listens.
    pub ip: String,
}

/// A probe's verdict on an instance has changed.
#[derive(Debug)]
pub struct Verdict {
    /// The instance.
    pub id: String,
    /// The container's name.
    pub container: String,
    /// Which probe.
    pub kind: ProbeKind,
    /// What it is now.
    pub success: bool,
}

/// What one attempt came to.
enum Attempt {
    Success,
    Refused(String),
    Failure(String),
}

/// Probes until the receiver has gone.
pub async fn run(
    ctx: Arc<Context>,
    target: Target,
    kind: ProbeKind,
    probe: Probe,
    verdicts: mpsc::Sender<Verdict>,
) {
    let timing = Timing::of(&probe);
    let mut tally = Tally::new(kind, timing);
    let mut early = Early::new(kind);
    sleep(timing.initial_delay).await;
    let begun = Instant::now();
    loop {
        let next = Instant::now() + timing.period;
        let attempt = timeout(timing.timeout, attempt(&ctx, &target, &probe)).await;
        let attempt = attempt.unwrap_or_else(|_| {
            Attempt::Failure(format!("no answer within {} s", timing.timeout.as_secs()))
        });
        let (refused, failure) = match attempt {
            Attempt::Success => (false, None),
            Attempt::Refused(message) => (true, Some(message)),
            Attempt::Failure(message) => (false, Some(message)),
        };
        if failure.is_none() {
            early.over();
        } else if let Some(pause) = early.pause(refused, begun.elapsed()) {
            sleep(pause).await;
            continue;
        }
        if let Some(message) = &failure {
            let message = format!("{} probe failed: {message}", kind.name());
            ctx.events.pod(
                &target.pod,
                Some(&target.container.name),
                Severity::Warning,
                "Unhealthy",
                message,
            );
        }
        if let Some(success) = tally.observe(failure.is_none()) {
            let verdict = Verdict {
                id: target.id.clone(),
                container: target.container.name.clone(),
                kind,
                success,
            };
            if verdicts.send(verdict).await.is_err() || kind == ProbeKind::Startup {
                return;
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

async fn attempt(ctx: &Context, target: &Target, probe: &Probe) -> Attempt {
    if let Some(action) = &probe.exec {
        return run_command(ctx, target, action).await;
    }
    if let Some(action) = &probe.http_get {
        return get(target, action).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
        return match port_number(&target.container, &action.port) {
            Ok(port) => match connect(host, port).await {
                Ok(_) => Attempt::Success,
                Err(attempt) => attempt,
            },
            Err(message) => Attempt::Failure(message),
        };
    }
    Attempt::Failure("this kind of probe is not supported: use exec, httpGet or tcpSocket".into())
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Attempt> {
    TcpStream::connect((host, port)).await.map_err(|error| {
        let message = format!("dial tcp {host}:{port}: connect: {}", describe(&error));
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            Attempt::Refused(message)
        } else {
            Attempt::Failure(message)
        }
    })
}

fn describe(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        "connection refused".into()
    } else {
        error.to_string()
    }
}

/// A port by number or by its name in the container.
fn port_number(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named =
                container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name
                    .parse()
                    .map_err(|_| format!("couldn't find port: {name} in the container's ports"))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

async fn get(target: &Target, action: &HTTPGetAction) -> Attempt {
    if action.scheme.as_deref() == Some("HTTPS") {
        return Attempt::Failure(
            "HTTPS probes are not supported yet: use tcpSocket or scheme HTTP".into(),
        );
    }
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
    let port = match port_number(&target.container, &action.port) {
        Ok(port) => port,
        Err(message) => return Attempt::Failure(message),
    };
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("http://{host}:{port}{path}");
    let stream = match connect(host, port).await {
        Ok(stream) => stream,
        Err(Attempt::Refused(error)) => return Attempt::Refused(format!("Get \"{url}\": {error}")),
        Err(other) => return other,
    };
    let mut request = hyper::Request::get(&path)
        .header("User-Agent", "kube-probe/1.36")
        .header("Accept", "*/*")
        .header("Connection", "close");
    let headers = action.http_headers.as_deref().unwrap_or_default();
    for header in headers {
        request = request.header(&header.name, &header.value);
    }
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header("Host", format!("{host}:{port}"));
    }
    let status = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer =
            sender.send_request(request).await.map_err(|error| format!("Get \"{url}\": {error}"));
        connection.abort();
        answer.map(|answer| answer.status().as_u16())
    };
    match status.await {
        Ok(200..400) => Attempt::Success,
        Ok(code) => Attempt::Failure(format!("HTTP probe failed with statuscode: {code}")),
        Err(message) => Attempt::Failure(message),
    }
}

async fn run_command(ctx: &Context, target: &Target, action: &ExecAction) -> Attempt {
    let spec = ExecSpec {
        id: target.id.clone(),
        argv: action.command.clone().unwrap_or_default(),
        tty: false,
        stdin: false,
    };
    let mut streams = match ctx.runtime.exec(&target.uid, &spec).await {
        Ok(streams) => streams,
        Err(error) => return Attempt::Failure(format!("{error:#}")),
    };
    let mut text = Vec::new();
    while let Some(output) = streams.output.recv().await {
        match output {
            // As much as an event can show.
            Output::Stdout(bytes) | Output::Stderr(bytes) if text.len() < 1024 => {
                text.extend(bytes)
            }
            Output::Stdout(_) | Output::Stderr(_) => {}
            Output::Exit(exit) if exit.code == 0 => return Attempt::Success,
            Output::Exit(_) => break,
        }
    }
    Attempt::Failure(String::from_utf8_lossy(&text).trim().to_owned())
}
