//! The agent's own server: exec, attach and logs over gRPC and mutual TLS.
//!
//! Whoever connects has a certificate of the cluster; only members of `system:masters` (the API
//! server is one) are answered. Never starts or ends a container.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::Stream;
use jiff::Timestamp;
use proto::node::exec_request::Message as In;
use proto::node::exec_response::Message as Out;
use proto::node::node_server::{Node, NodeServer};
use proto::node::{
    ContainerRef, ExecRequest, ExecResponse, ExecStart, ExitStatus, LogsRequest, LogsResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::context::Context;
use crate::logs::{Reader, Selection};
use crate::options::Options;
use crate::registry::Found;
use crate::runtime::{Input, Output, STREAM_QUEUE_CHUNKS, Streams};
use crate::shim::protocol::WindowSize;
use crate::shim::spec::ExecSpec;

/// Group whose members may use this server.
const MASTERS: &str = "system:masters";
/// Bytes of a log that one message carries, about.
const LOG_CHUNK_BYTES: usize = 32 << 10;
/// How often a followed log is looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Service {
    ctx: Arc<Context>,
}

/// Serves on `listener` until `stop` ends.
pub async fn run(
    ctx: Arc<Context>,
    options: &Options,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("read {}", path.display()))
    };
    let identity =
        Identity::from_pem(read(&options.tls_cert_file)?, read(&options.tls_private_key_file)?);
    let clients = Certificate::from_pem(read(&options.client_ca_file)?);
    let tls = ServerTlsConfig::new().identity(identity).client_ca_root(clients);
    let service = NodeServer::with_interceptor(Service { ctx }, authorize);
    let server = Server::builder().tls_config(tls).context("set up TLS")?.add_service(service);
    Ok(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await?)
}

#[allow(clippy::result_large_err, reason = "the interceptor's type is tonic's")]
fn authorize(request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request.peer_certs();
    let leaf = certificates.as_ref().and_then(|list| list.first());
    let groups = leaf.map(|leaf| organizations(leaf)).unwrap_or_default();
    if groups.iter().any(|group| group == MASTERS) {
        return Ok(request);
    }
    Err(Status::permission_denied(format!(
        "the client's certificate is not one of group {MASTERS}"
    )))
}

fn organizations(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let names = certificate.subject().iter_organization();
    names.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
}

impl Service {
    fn find(&self, reference: Option<ContainerRef>) -> Result<Found, Status> {
        let wanted = reference.ok_or_else(|| Status::invalid_argument("no container is named"))?;
        let found = self.ctx.registry.find(
            &wanted.namespace,
            &wanted.pod,
            &wanted.pod_uid,
            &wanted.container,
        );
        found.map_err(Status::not_found)
    }

    async fn begin(
        &self,
        mut requests: Streaming<ExecRequest>,
        attach: bool,
    ) -> Result<Response<ResponseStream<ExecResponse>>, Status> {
        let first = requests.message().await?;
        let Some(In::Start(start)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message must be start"));
        };
        let found = self.find(start.container.clone())?;
        if let Some(why) = &found.stopped {
            return Err(Status::failed_precondition(format!(
                "container {} is not running: {why}",
                found.container
            )));
        }
        let streams = if attach {
            self.ctx.runtime.attach(&found.uid, &found.id).await
        } else {
            self.exec_in(&found, &start).await
        };
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE_CHUNKS);
        match streams {
            Ok(streams) => drop(tokio::spawn(carry(streams, requests, sender, start))),
            Err(error) => {
                let text = format!("{error:#}");
                let code = if text.contains("executable file not found") { 127 } else { 126 };
                sender.try_send(Ok(response(Out::Exit(ExitStatus { code, error: text })))).ok();
            }
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn exec_in(&self, found: &Found, start: &ExecStart) -> Result<Streams> {
        let spec = ExecSpec {
            id: found.id.clone(),
            argv: start.command.clone(),
            tty: start.tty,
            stdin: start.stdin,
        };
        self.ctx.runtime.exec(&found.uid, &spec).await
    }
}

fn response(message: Out) -> ExecResponse {
    ExecResponse { message: Some(message) }
}

/// Moves messages both ways until the process has ended or the client has gone.
async fn carry(
    streams: Streams,
    mut requests: Streaming<ExecRequest>,
    responses: mpsc::Sender<Result<ExecResponse, Status>>,
    start: ExecStart,
) {
    let Streams { input, mut output } = streams;
    let forward = async move {
        // A client that ends its half has no more input, but may still read.
        while let Ok(Some(request)) = requests.message().await {
            let message = match request.message {
                Some(In::Stdin(bytes)) => Input::Bytes(bytes),
                Some(In::CloseStdin(_)) => Input::Close,
                Some(In::Resize(size)) => Input::Resize(WindowSize {
                    columns: size.columns as u16,
                    rows: size.rows as u16,
                }),
                Some(In::Start(_)) | None => continue,
            };
            if input.send(message).await.is_err() {
                return;
            }
        }
        input.send(Input::Close).await.ok();
        std::future::pending::<()>().await;
    };
    let back = async {
        while let Some(output) = output.recv().await {
            let message = match output {
                Output::Stdout(bytes) if start.stdout || start.tty => Out::Stdout(bytes),
                Output::Stderr(bytes) if start.stderr => Out::Stderr(bytes),
                Output::Stdout(_) | Output::Stderr(_) => continue,
                Output::Exit(exit) => Out::Exit(ExitStatus { code: exit.code, error: exit.error }),
            };
            if responses.send(Ok(response(message))).await.is_err() {
                return;
            }
        }
    };
    // Both halves are dropped together: an abandoned command ends.
    tokio::select! {
        () = forward => {}
        () = back => {}
        () = responses.closed() => {}
    }
}

#[tonic::async_trait]
impl Node for Service {
    type ExecStream = ResponseStream<ExecResponse>;
    type AttachStream = ResponseStream<ExecResponse>;
    type LogsStream = ResponseStream<LogsResponse>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        self.begin(request.into_inner(), false).await
    }

    async fn attach(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.begin(request.into_inner(), true).await
    }

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let found = self.find(request.container.clone())?;
        let attempt = match (request.previous, found.attempt, found.id.is_empty()) {
            (false, attempt, false) => attempt,
            (true, 1.., false) => found.attempt - 1,
            (true, ..) => {
                return Err(Status::invalid_argument(format!(
                    "previous terminated container {:?} not found",
                    found.container
                )));
            }
            (false, _, true) => {
                return Err(Status::failed_precondition(format!(
                    "container {:?} is waiting to start",
                    found.container
                )));
            }
        };
        let selection =
            Selection::new(&request, Timestamp::now()).map_err(Status::invalid_argument)?;
        let reader = Reader::new(found.logs.join(format!("{attempt}.log")), selection);
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE_CHUNKS);
        tokio::spawn(send_log(self.ctx.clone(), request, found, reader, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Sends a log to its end or, followed, until its container has ended.
async fn send_log(
    ctx: Arc<Context>,
    request: LogsRequest,
    found: Found,
    mut reader: Reader,
    sender: mpsc::Sender<Result<LogsResponse, Status>>,
) {
    let reference = request.container.unwrap_or_default();
    let mut ended = false;
    loop {
        let data = match reader.read(LOG_CHUNK_BYTES) {
            Ok(data) => data,
            Err(error) => {
                return drop(
                    sender.send(Err(Status::internal(format!("read the log: {error}")))).await,
                );
            }
        };
        if !data.is_empty() {
            if sender.send(Ok(LogsResponse { data })).await.is_err() {
                return;
            }
            continue;
        }
        if reader.is_full() || !request.follow || ended {
            return;
        }
        // Looked at before the last read, so that nothing written before the end is missed.
        let now = ctx.registry.find(
            &reference.namespace,
            &reference.pod,
            &reference.pod_uid,
            &reference.container,
        );
        ended =
            request.previous || !now.is_ok_and(|now| now.id == found.id && now.stopped.is_none());
        if !ended {
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_PERIOD) => {}
                () = sender.closed() => return,
            }
        }
    }
}
