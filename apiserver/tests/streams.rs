//! exec and logs: stock kubectl on one side, a node agent made for the test on the other.

mod support;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    process::Output,
    time::Duration,
};

use futures::Stream;
use proto::node::{
    ExecRequest, ExecResponse, ExitStatus, LogsRequest, LogsResponse,
    exec_request::Message as Ask,
    exec_response::Message as Told,
    node_server::{Node, NodeServer},
};
use serde_json::json;
use support::secure::{Secure, have};
use tokio::{io::AsyncWriteExt, process::Command, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

/// A client that hangs fails its test instead of stopping the run.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Runs nothing: says back what it was asked, copies input to output, ends with code 3.
struct Echo;

#[tonic::async_trait]
impl Node for Echo {
    type ExecStream = Answers<ExecResponse>;
    type AttachStream = Answers<ExecResponse>;
    type LogsStream = Answers<LogsResponse>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let mut asked = request.into_inner();
        let Some(Ask::Start(start)) = asked.message().await?.and_then(|ask| ask.message) else {
            return Err(Status::invalid_argument("the first message is no start"));
        };
        let container = start.container.unwrap_or_default();
        if container.pod == "down" {
            return Err(Status::failed_precondition("container main is not running"));
        }
        let said =
            format!("{} {}: {}\n", container.pod, container.container, start.command.join("|"));
        let (answers, stream) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let tell = |told| Ok(ExecResponse { message: Some(told) });
            let _ = answers.send(tell(Told::Stdout(said.into_bytes()))).await;
            let _ = answers.send(tell(Told::Stderr(b"complaint\n".to_vec()))).await;
            let mut open = start.stdin;
            while open {
                match asked.message().await.map(|ask| ask.and_then(|ask| ask.message)) {
                    Ok(Some(Ask::Stdin(data))) => {
                        let _ = answers.send(tell(Told::Stdout(data))).await;
                    }
                    Ok(Some(Ask::Resize(_))) => {}
                    _ => open = false,
                }
            }
            let exit = ExitStatus { code: 3, error: String::new() };
            let _ = answers.send(tell(Told::Exit(exit))).await;
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn attach(
        &self,
        _: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let lines = (0..5).map(|line| format!("line {line}\n")).collect::<Vec<_>>();
        let tail = usize::try_from(request.tail_lines.unwrap_or(5)).unwrap_or(0).min(5);
        let sent = lines[5 - tail..].to_vec();
        let stream =
            tokio_stream::iter(sent).map(|line| Ok(LogsResponse { data: line.into_bytes() }));
        Ok(Response::new(Box::pin(stream)))
    }
}

async fn kubectl(config: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("kubectl")
        .arg(format!("--kubeconfig={}", config.display()))
        .arg(format!("--cache-dir={}", config.with_extension("cache").display()))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    tokio::time::timeout(COMMAND_LIMIT, child.wait_with_output()).await.unwrap().unwrap()
}

/// The secured API server with a pod on a node, whose agent is [`Echo`] behind mutual TLS.
struct Cluster {
    secure: Secure,
    config: PathBuf,
    agent: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Cluster {
    async fn start() -> Self {
        let secure = Secure::start(&[
            "--kubelet-client-certificate=DIR/admin.crt",
            "--kubelet-client-key=DIR/admin.key",
            "--kubelet-certificate-authority=DIR/ca.crt",
        ])
        .await;
        let (agent, port) = start_agent(&secure).await;
        let config = secure.kubeconfig();
        create_pod_and_node(&config, port).await;
        Self { secure, config, agent }
    }

    async fn kubectl(&self, arguments: &[&str], input: &str) -> Output {
        kubectl(&self.config, arguments, input).await
    }

    async fn stop(self) {
        self.agent.abort();
        self.secure.stop().await;
    }
}

/// Serves [`Echo`] as node `worker-1` and says on which port.
async fn start_agent(secure: &Secure) -> (JoinHandle<Result<(), tonic::transport::Error>>, u16) {
    secure.certificate("node", "system:node:worker-1", &["system:nodes"], Some("worker-1"));
    let read = |name: &str| std::fs::read(secure.file(name)).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("node.crt"), read("node.key")))
        .client_ca_root(Certificate::from_pem(read("ca.crt")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let agent = Server::builder().tls_config(tls).unwrap().add_service(NodeServer::new(Echo));
    let agent = tokio::spawn(agent.serve_with_incoming(TcpListenerStream::new(listener)));
    (agent, port)
}

/// Pods `web` and `down` on node `worker-1`, whose agent listens on this port.
async fn create_pod_and_node(config: &Path, port: u16) {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "worker-1" } });
    let mut pods = ["web", "down"].map(|name| support::pod(name, "worker-1"));
    for pod in &mut pods {
        pod["metadata"]["namespace"] = "default".into();
    }
    for object in [node].into_iter().chain(pods) {
        let created = kubectl(config, &["create", "-f", "-"], &object.to_string()).await;
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    } });
    let status = status.to_string();
    let patch = ["patch", "node", "worker-1", "--subresource=status", "-p", &status];
    assert!(kubectl(config, &patch, "").await.status.success());
}

#[tokio::test]
async fn exec_and_logs_reach_the_pods_node() {
    if !have("kubectl") {
        return;
    }
    let cluster = Cluster::start().await;

    let output = cluster.kubectl(&["exec", "web", "--", "ls", "a b", ""], "").await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "web main: ls|a b|\n");
    assert!(error.contains("complaint") && error.contains("exit code 3"), "{error}");

    let output = cluster.kubectl(&["exec", "-i", "web", "--", "cat"], "hello\n").await;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "web main: cat\nhello\n");

    let output = cluster.kubectl(&["logs", "web", "--tail=2"], "").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "line 3\nline 4\n");
    let output = cluster.kubectl(&["logs", "web", "-c", "none"], "").await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("container none is not valid for pod web"), "{error}");
    cluster.stop().await;
}

#[tokio::test]
async fn exec_says_why_a_container_does_not_run() {
    if !have("kubectl") {
        return;
    }
    let cluster = Cluster::start().await;
    let waiting = json!({ "reason": "CrashLoopBackOff", "message": "back-off 10s" });
    let status = json!({ "status": { "containerStatuses": [{
        "name": "main", "image": "demo", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "waiting": waiting },
    }] } });
    let status = status.to_string();
    let patch = ["patch", "pod", "down", "--subresource=status", "-p", &status];
    let output = cluster.kubectl(&patch, "").await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");

    // Whichever way this kubectl asks first, SPDY is the last.
    let output = cluster.kubectl(&["exec", "down", "--", "ls"], "").await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("container main is not running: CrashLoopBackOff: back-off 10s"),
        "{error}"
    );
    assert!(!error.contains("SPDY"), "{error}");
    cluster.stop().await;
}
