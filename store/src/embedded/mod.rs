//! The embedded engine: a log with group commit, and the whole state in memory.
//!
//! One process at a time has the directory. Reads never wait for the disk, and never see a
//! write that is not durable. Never holds less than the whole state in memory: it is for
//! the objects of a cluster, not for bulk data.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot, watch as latest};

use crate::{
    Compare, Error, Get, LeaseId, List, ListOptions, Op, Revision, Store, Txn, WatchStream,
    check::{check_ttl, check_txn},
    limits::QUEUE_TXNS_MAX,
};

mod disk;
mod entry;
mod lease;
mod log;
mod record;
mod recover;
mod snapshot;
mod state;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use disk::{DirDisk, Disk, NoDisk};
use state::State;
use writer::{Command, Request, Rewrite, Writer};

/// How an embedded engine behaves.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// A compaction rewrites the files once the log is this long, in bytes.
    pub rewrite_log_bytes_min: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { rewrite_log_bytes_min: 4 << 20 }
    }
}

/// An embedded store. Dropping it waits for the write in hand and frees the directory.
pub struct Embedded {
    states: latest::Receiver<Arc<State>>,
    places: Arc<Semaphore>,
    /// None only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store in a directory, or makes one. Blocks while the log is read.
    ///
    /// # Errors
    /// `Locked` if another process has the directory, `Corrupt` if a file is damaged,
    /// `Unavailable` if the disk does not answer.
    pub fn open(directory: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, Error> {
        let disk = DirDisk::open(directory.as_ref())?;
        let rewrite = Rewrite { log_bytes_min: options.rewrite_log_bytes_min, inline: false };
        Self::on(Arc::new(disk), rewrite)
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// `Unavailable` if no thread can be started.
    pub fn in_memory() -> Result<Self, Error> {
        let rewrite = Rewrite { log_bytes_min: u64::MAX, inline: false };
        Self::on(Arc::new(NoDisk), rewrite)
    }

    fn on(disk: Arc<dyn Disk>, rewrite: Rewrite) -> Result<Self, Error> {
        let recovered = recover::recover(&disk)?;
        let (published, states) = latest::channel(Arc::new(recovered.state.clone()));
        let (requests, incoming) = mpsc::channel();
        let writer = Writer::new(disk, recovered, published, rewrite);
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&incoming))
            .map_err(|e| Error::Unavailable(format!("cannot start the writer's thread: {e}")))?;
        Ok(Self {
            states,
            places: Arc::new(Semaphore::new(QUEUE_TXNS_MAX)),
            requests: Some(requests),
            writer: Some(writer),
        })
    }

    fn state(&self) -> Arc<State> {
        self.states.borrow().clone()
    }

    /// Hands a command to the writer and waits for the answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let stopped = || Error::Unavailable("the store's writer has stopped; restart".into());
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(Request { command, place }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str, revision: Revision) -> Result<Get, Error> {
        self.state().get(key, revision)
    }

    async fn list(&self, options: ListOptions) -> Result<List, Error> {
        self.state().list(&options)
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Txn, Error> {
        check_txn(&compares, &ops)?;
        self.ask(|reply| Command::Txn { compares, ops, reply }).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        watch::start(self.states.clone(), prefix, from)
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        Ok(self.state().revision)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Command::Compact { revision, reply }).await
    }

    async fn grant_lease(&self, ttl_s: i64) -> Result<LeaseId, Error> {
        check_ttl(ttl_s)?;
        self.ask(|reply| Command::Grant { ttl_s, reply }).await
    }
}
