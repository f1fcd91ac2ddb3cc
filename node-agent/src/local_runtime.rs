//! The runtime that starts host processes: one shim a pod, found again by its socket.
//!
//! Keeps nothing in memory, so that a new agent goes on where the former ended.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::images::{self, Image};
use crate::runtime::{Input, Output, Runtime, STREAM_QUEUE_CHUNKS, Streams};
use crate::shim::protocol::{
    InstanceState, Kind, Request, Response, parse_head, parse_json, write_frame,
};
use crate::shim::spec::{ContainerSpec, ExecSpec, SandboxSpec};
use crate::shim::{self, socket_path};

/// States of a sandbox that wait for their reader; the shim waits when they are full.
const WATCH_QUEUE: usize = 4;

/// Pods as processes of this host.
#[derive(Clone, Debug)]
pub struct LocalRuntime {
    /// Where pods' directories are, one a UID.
    pub pods: PathBuf,
    /// The program that shims are started from; it calls [`crate::main_if_shim`] first.
    pub shim_program: PathBuf,
    /// The program in built-in images.
    pub image_binary: PathBuf,
}

impl LocalRuntime {
    async fn connect(&self, uid: &str, request: &Request) -> Result<UnixStream> {
        let directory =
            File::open(self.pods.join(uid)).context("the pod has no directory on this node")?;
        let mut stream = UnixStream::connect(socket_path(&directory))
            .await
            .context("the pod's shim does not answer")?;
        send(&mut stream, Kind::Request, &serde_json::to_vec(request)?).await?;
        Ok(stream)
    }

    async fn request(&self, uid: &str, request: &Request) -> Result<UnixStream> {
        let mut stream = self.connect(uid, request).await?;
        let (_, payload) = receive(&mut stream).await?.context("the pod's shim ended")?;
        match parse_json(&payload)? {
            Response::Done => Ok(stream),
            Response::Error(error) => Err(anyhow!("{error}")),
            Response::State(_) => bail!("the pod's shim answered something else"),
        }
    }
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), kind: Kind, payload: &[u8]) -> Result<()> {
    let mut frame = Vec::new();
    write_frame(&mut frame, kind, payload)?;
    Ok(stream.write_all(&frame).await?)
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; 5];
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..]).await?;
    let (kind, length) = parse_head(&head)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

#[async_trait]
impl Runtime for LocalRuntime {
    fn resolve_image(&self, name: &str) -> Image {
        images::resolve(name, &self.image_binary)
    }

    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<()> {
        let (program, spec) = (self.shim_program.clone(), spec.clone());
        tokio::task::spawn_blocking(move || shim::start(&program, &spec)).await?
    }

    async fn watch_sandbox(&self, uid: &str) -> Result<mpsc::Receiver<Vec<InstanceState>>> {
        let mut stream = self.connect(uid, &Request::Watch).await?;
        let (states, receiver) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(async move {
            while let Ok(Some((_, payload))) = receive(&mut stream).await {
                let Ok(Response::State(list)) = parse_json(&payload) else {
                    break;
                };
                if states.send(list).await.is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }

    async fn start_container(&self, uid: &str, spec: &ContainerSpec) -> Result<()> {
        self.request(uid, &Request::Start(Box::new(spec.clone()))).await.map(drop)
    }

    async fn signal_container(&self, uid: &str, id: &str, signal: i32) -> Result<()> {
        self.request(uid, &Request::Signal { id: id.to_owned(), signal }).await.map(drop)
    }

    async fn exec(&self, uid: &str, spec: &ExecSpec) -> Result<Streams> {
        Ok(carry(self.request(uid, &Request::Exec(spec.clone())).await?))
    }

    async fn attach(&self, uid: &str, id: &str) -> Result<Streams> {
        Ok(carry(self.request(uid, &Request::Attach { id: id.to_owned() }).await?))
    }

    async fn remove_sandbox(&self, uid: &str) -> Result<()> {
        match self.connect(uid, &Request::Shutdown).await {
            // Its end and its answer are equally good news.
            Ok(mut stream) => drop(receive(&mut stream).await),
            Err(error) => tracing::debug!(uid, "no sandbox to remove: {error:#}"),
        }
        Ok(())
    }
}

/// Moves a connection's frames to and from channels until either side ends.
fn carry(stream: UnixStream) -> Streams {
    let (mut from_shim, mut to_shim) = stream.into_split();
    let (input, mut inputs) = mpsc::channel(STREAM_QUEUE_CHUNKS);
    let (outputs, output) = mpsc::channel(STREAM_QUEUE_CHUNKS);
    tokio::spawn(async move {
        while let Some(input) = inputs.recv().await {
            let sent = match input {
                Input::Bytes(bytes) => send(&mut to_shim, Kind::Stdin, &bytes).await,
                Input::Close => send(&mut to_shim, Kind::CloseStdin, &[]).await,
                Input::Resize(size) => {
                    send(&mut to_shim, Kind::Resize, &serde_json::to_vec(&size).unwrap_or_default())
                        .await
                }
            };
            if sent.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok(Some((kind, payload))) = receive(&mut from_shim).await {
            let output = match kind {
                Kind::Stdout => Output::Stdout(payload),
                Kind::Stderr => Output::Stderr(payload),
                Kind::Exit => match parse_json(&payload) {
                    Ok(exit) => Output::Exit(exit),
                    Err(_) => break,
                },
                _ => continue,
            };
            if outputs.send(output).await.is_err() {
                break;
            }
        }
    });
    Streams { input, output }
}
