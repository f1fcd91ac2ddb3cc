//! What runs pods: the trait behind which images, sandboxes and containers live.
//!
//! The agent speaks to nothing else of the kind, so that a runtime for OCI images or one over
//! the CRI fits in its place. Never refers to a Kubernetes object.

use anyhow::Result;
use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::images::Image;
use crate::shim::protocol::{Exit, InstanceState, WindowSize};
use crate::shim::spec::{ContainerSpec, ExecSpec, SandboxSpec};

/// Chunks that wait between a process's stream and its client; a full queue makes the sender wait.
pub const STREAM_QUEUE_CHUNKS: usize = 16;

/// Into a running command or an attached container.
#[derive(Debug)]
pub enum Input {
    /// Bytes for its standard input.
    Bytes(Vec<u8>),
    /// No more input comes.
    Close,
    /// Its terminal's new size.
    Resize(WindowSize),
}

/// Out of it. A stream of these ends after `Exit`, or early where the sandbox ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Written to standard output or a terminal.
    Stdout(Vec<u8>),
    /// Written to standard error.
    Stderr(Vec<u8>),
    /// It has ended.
    Exit(Exit),
}

/// Both directions of a command's streams. Dropping `input` ends the command.
#[derive(Debug)]
pub struct Streams {
    /// Bounded by [`STREAM_QUEUE_CHUNKS`].
    pub input: mpsc::Sender<Input>,
    /// Bounded by [`STREAM_QUEUE_CHUNKS`].
    pub output: mpsc::Receiver<Output>,
}

/// Runs sandboxes and their containers.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What stands behind an image's name.
    fn resolve_image(&self, name: &str) -> Image;
    /// Makes a pod's namespaces. An existing sandbox of the same pod must have been removed.
    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<()>;
    /// The states of a sandbox's containers, at once and after each change. The channel closes
    /// when the sandbox has gone; an error says that there is none.
    async fn watch_sandbox(&self, uid: &str) -> Result<mpsc::Receiver<Vec<InstanceState>>>;
    /// Starts one container instance; done once its program runs.
    async fn start_container(&self, uid: &str, spec: &ContainerSpec) -> Result<()>;
    /// Signals an instance's first process; one that has ended is no error.
    async fn signal_container(&self, uid: &str, id: &str, signal: i32) -> Result<()>;
    /// Runs a command in an instance. An error says why it could not be started.
    async fn exec(&self, uid: &str, spec: &ExecSpec) -> Result<Streams>;
    /// Joins an instance's own streams.
    async fn attach(&self, uid: &str, id: &str) -> Result<Streams>;
    /// Kills what is left and removes the sandbox; none being there is no error.
    async fn remove_sandbox(&self, uid: &str) -> Result<()>;
}
