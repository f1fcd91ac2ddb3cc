//! exec and attach: the client's WebSocket channels ↔ the node agent's gRPC stream.
//!
//! Never interprets what passes through.

use std::sync::Arc;

use api::subresource::Container;
use axum::body::Body;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proto::node::{
    ExecRequest, ExecResponse, ExecStart, ExitStatus, TerminalSize, exec_request::Message as Ask,
    exec_response::Message as Told,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tonic::Streaming;
use tracing::debug;

use crate::{failure::Failure, request::Query, server::Server};

use super::{
    node::failure_of,
    reference,
    websocket::{accept, read_offer},
};

/// Messages on their way to the node; a client that types faster waits.
const INPUT_QUEUE: usize = 16;

/// Largest message of a client: kubectl sends 32 KiB at most.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: the next byte is a channel that has ended.
const CLOSE: u8 = 255;

/// Answers `…/exec` and `…/attach`. The command is started before the upgrade is accepted,
/// so that what is wrong with it is an ordinary error.
pub async fn exec(
    server: &Arc<Server>,
    target: Container,
    attach: bool,
    query: &Query,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let command = query.all("command");
    if !attach && command.is_empty() {
        return Err(Failure::bad_request("you must specify at least 1 command"));
    }
    let offer = match (read_offer(&request), &target.stopped) {
        (Ok(offer), _) => offer,
        // kubectl takes every refusal of its WebSocket as a cue to come again with SPDY, and
        // shows what it is told then.
        (Err(_), Some(why)) => {
            let container = &target.name;
            return Err(Failure::bad_request(format!(
                "container {container} is not running: {why}"
            )));
        }
        (Err(refusal), None) => return Err(refusal),
    };
    let start = ExecStart {
        container: Some(reference(&target)),
        command,
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr") && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if !(start.stdin || start.stdout || start.stderr) {
        return Err(Failure::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    let mut client = server.nodes.connect(&server.resources.table(), &target.node).await?;
    let (input, queued) = mpsc::channel(INPUT_QUEUE);
    // The queue is empty: this cannot wait.
    let _ = input.send(ask(Ask::Start(start))).await;
    let asked = ReceiverStream::new(queued);
    let answered = match attach {
        true => client.attach(asked).await,
        false => client.exec(asked).await,
    };
    let output = answered.map_err(|status| failure_of(&status))?.into_inner();
    let upgrade = hyper::upgrade::on(&mut request);
    let stop = server.stop.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                stop.run_until_cancelled(relay(upgraded, input, output)).await;
            }
            Err(error) => debug!("upgrading to a WebSocket: {error}"),
        }
    });
    Ok(accept(&offer))
}

fn ask(message: Ask) -> ExecRequest {
    ExecRequest { message: Some(message) }
}

/// Passes messages both ways until the command ends or the client goes.
async fn relay(
    upgraded: Upgraded,
    input: mpsc::Sender<ExecRequest>,
    mut output: Streaming<ExecResponse>,
) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES));
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut to_client, mut from_client) = socket.split();
    let to_node = async {
        while let Some(Ok(message)) = from_client.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                _ => continue,
            };
            if let Some(message) = from_channel(&data) {
                // Once the node takes no more, what follows has nowhere to go.
                let _ = input.send(ask(message)).await;
            }
        }
    };
    let to_socket = async {
        // Tells the client that the streams are open.
        let mut sent = to_client.send(channel(STDOUT, b"")).await;
        while sent.is_ok() {
            let message = match output.next().await {
                Some(Ok(ExecResponse { message: Some(message) })) => message,
                Some(Ok(_)) => continue,
                Some(Err(status)) => failed(status.message()),
                None => failed("the node ended the stream without an exit status"),
            };
            sent = match message {
                Told::Stdout(data) => to_client.send(channel(STDOUT, &data)).await,
                Told::Stderr(data) => to_client.send(channel(STDERR, &data)).await,
                Told::Exit(exit) => {
                    let status = exit_status(&exit).to_string();
                    let _ = to_client.send(channel(ERROR, status.as_bytes())).await;
                    break;
                }
            };
        }
        // Without a code clients take the end for a failure.
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = to_client.send(Message::Close(Some(close))).await;
    };
    // The client's end of input does not end the output; only its going does. The output's
    // end ends all.
    let mut to_socket = std::pin::pin!(to_socket);
    tokio::select! {
        () = &mut to_socket => {}
        () = to_node => {}
    }
}

fn failed(message: &str) -> Told {
    Told::Exit(ExitStatus { code: -1, error: message.to_owned() })
}

fn channel(channel: u8, data: &[u8]) -> Message {
    let mut framed = Vec::with_capacity(data.len() + 1);
    framed.push(channel);
    framed.extend_from_slice(data);
    Message::Binary(framed.into())
}

/// A client's message for the node; `None` for what means nothing.
fn from_channel(data: &[u8]) -> Option<Ask> {
    let (channel, data) = data.split_first()?;
    match *channel {
        STDIN if data.is_empty() => None,
        STDIN => Some(Ask::Stdin(data.to_vec())),
        CLOSE if data.first() == Some(&STDIN) => Some(Ask::CloseStdin(true)),
        RESIZE => {
            let size: Value = serde_json::from_slice(data).ok()?;
            let side = |name: &str| {
                size[name].as_u64().and_then(|side| u32::try_from(side).ok()).unwrap_or(0)
            };
            Some(Ask::Resize(TerminalSize { columns: side("Width"), rows: side("Height") }))
        }
        _ => None,
    }
}

/// How the command ended, as the error channel tells it.
fn exit_status(exit: &ExitStatus) -> Value {
    if !exit.error.is_empty() {
        return json!({
            "metadata": {},
            "status": "Failure",
            "message": exit.error,
            "reason": "InternalError",
            "code": 500,
        });
    }
    if exit.code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {}", exit.code),
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": exit.code.to_string() }] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_told_apart() {
        assert_eq!(from_channel(b"\x00ls\n"), Some(Ask::Stdin(b"ls\n".to_vec())));
        assert_eq!(from_channel(b"\xff\x00"), Some(Ask::CloseStdin(true)));
        let size = TerminalSize { columns: 80, rows: 24 };
        let sent = b"\x04{\"Width\":80,\"Height\":24}";
        assert_eq!(from_channel(sent), Some(Ask::Resize(size)));
        assert_eq!(from_channel(b"\x04nonsense"), None);
        assert_eq!(from_channel(b""), None);
    }

    #[test]
    fn exit_statuses_are_those_that_kubectl_reads() {
        let status = |code, error: &str| exit_status(&ExitStatus { code, error: error.to_owned() });
        assert_eq!(status(0, "")["status"], "Success");
        assert_eq!(status(3, "")["details"]["causes"][0]["message"], "3");
        assert_eq!(status(3, "")["reason"], "NonZeroExitCode");
        assert_eq!(status(-1, "no such file")["reason"], "InternalError");
    }
}
