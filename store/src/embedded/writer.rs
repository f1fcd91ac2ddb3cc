//! The one writer: takes what waits, applies it, syncs once, then tells everyone.
//!
//! While one group is being synced the next one gathers, so the slower the disk, the larger
//! the groups. Readers and watchers only ever see what has been synced: the writer works on
//! a copy of the state and publishes it after the sync, and throws it away if that failed.
//! Never answers before the sync, not even a conflict, since that tells of others' writes.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::{
    Compare, Error, LeaseId, Op, Revision, Txn,
    embedded::{
        disk::Disk,
        entry,
        lease::{self, Deadlines},
        log::Log,
        record::FRAME_BYTES,
        recover::Recovered,
        snapshot,
        state::{State, Write},
    },
    limits::{GROUP_BYTES_MAX, GROUP_TXNS_MAX, LEASE_KEYS_PER_REVISION},
};

/// How soon an ended lease is tried again when its keys could not be removed.
const LEASE_RETRY: Duration = Duration::from_secs(1);

/// Room for a record that is kept from group to group; what a large one took is given back.
const RECORD_BYTES_KEPT: usize = 256 << 10;

/// What is asked of the writer.
pub(super) enum Command {
    Txn { compares: Vec<Compare>, ops: Vec<Op>, reply: oneshot::Sender<Result<Txn, Error>> },
    Compact { revision: Revision, reply: oneshot::Sender<Result<(), Error>> },
    Grant { ttl_s: i64, reply: oneshot::Sender<Result<LeaseId, Error>> },
}

/// A command and its place in the queue, which is free again once it is answered.
pub(super) struct Request {
    pub command: Command,
    pub place: OwnedSemaphorePermit,
}

/// An answer that waits for the sync.
enum Answer {
    Txn(oneshot::Sender<Result<Txn, Error>>, Result<Txn, Error>),
    Compact(oneshot::Sender<Result<(), Error>>, Result<(), Error>),
    Grant(oneshot::Sender<Result<LeaseId, Error>>, Result<LeaseId, Error>),
}

impl Answer {
    /// Sends it, or the reason why nothing of the group was written. Nobody may be waiting.
    fn send(self, failure: Option<&Error>) {
        fn outcome<T>(result: Result<T, Error>, failure: Option<&Error>) -> Result<T, Error> {
            match failure {
                Some(error) => Err(error.clone()),
                None => result,
            }
        }
        match self {
            Self::Txn(reply, result) => drop(reply.send(outcome(result, failure))),
            Self::Compact(reply, result) => drop(reply.send(outcome(result, failure))),
            Self::Grant(reply, result) => drop(reply.send(outcome(result, failure))),
        }
    }
}

/// How the log is rewritten after a compaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rewrite {
    /// Logs shorter than this are left alone.
    pub log_bytes_min: u64,
    /// Write the snapshot in the writer's own thread, one step after the other.
    pub inline: bool,
}

/// A snapshot on its way in a thread of its own.
struct Snapshotting {
    thread: JoinHandle<Option<u64>>,
    stop: Arc<AtomicBool>,
}

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    log: Log,
    /// Ahead of what is published by the group in hand.
    state: State,
    published: watch::Sender<Arc<State>>,
    deadlines: Deadlines,
    /// Leases that have ended and still have keys.
    ended: VecDeque<LeaseId>,
    /// Leases whose end is in the group in hand.
    ending: Vec<LeaseId>,
    rewrite: Rewrite,
    snapshotting: Option<Snapshotting>,
    snapshot_bytes: u64,
    log_bytes: u64,
    // Of the group in hand:
    record: Vec<u8>,
    answers: Vec<Answer>,
    places: Vec<OwnedSemaphorePermit>,
    granted: Vec<(LeaseId, i64)>,
    compacted: bool,
}

impl Writer {
    pub fn new(
        disk: Arc<dyn Disk>,
        recovered: Recovered,
        published: watch::Sender<Arc<State>>,
        rewrite: Rewrite,
    ) -> Self {
        Self {
            disk,
            deadlines: Deadlines::of(&recovered.state),
            state: recovered.state,
            log_bytes: recovered.log_bytes,
            snapshot_bytes: recovered.snapshot_bytes,
            log: recovered.log,
            published,
            ended: VecDeque::new(),
            ending: Vec::new(),
            rewrite,
            snapshotting: None,
            record: vec![0; FRAME_BYTES],
            answers: Vec::new(),
            places: Vec::new(),
            granted: Vec::new(),
            compacted: false,
        }
    }

    /// Serves until every sender is gone.
    pub fn run(mut self, requests: &mpsc::Receiver<Request>) {
        loop {
            let wait = match self.ended.is_empty() {
                true => self.deadlines.wait(),
                false => Some(Duration::ZERO),
            };
            let first = match wait {
                Some(wait) => requests.recv_timeout(wait),
                None => requests.recv().map_err(Into::into),
            };
            match first {
                Ok(request) => self.take(request),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            while self.places.len() < GROUP_TXNS_MAX
                && self.record.len() < GROUP_BYTES_MAX
                && let Ok(request) = requests.try_recv()
            {
                self.take(request);
            }
            self.end_leases();
            self.finish_group();
        }
        if let Some(running) = self.snapshotting.take() {
            running.stop.store(true, Ordering::Relaxed);
            let _ = running.thread.join();
        }
    }

    /// Puts a request into the group in hand.
    fn take(&mut self, request: Request) {
        self.places.push(request.place);
        let answer = match request.command {
            Command::Txn { compares, ops, reply } => Answer::Txn(reply, self.txn(&compares, ops)),
            Command::Compact { revision, reply } => Answer::Compact(reply, self.compact(revision)),
            Command::Grant { ttl_s, reply } => Answer::Grant(reply, Ok(self.grant(ttl_s))),
        };
        self.answers.push(answer);
    }

    fn txn(&mut self, compares: &[Compare], ops: Vec<Op>) -> Result<Txn, Error> {
        if let Some(current) = self.state.conflict(compares) {
            return Ok(Txn::Conflict { revision: self.state.revision, current });
        }
        let mut writes = Vec::with_capacity(ops.len());
        for op in ops {
            let (key, value, lease) = match op {
                Op::Put { key, value, lease } => (key, Some(value), lease),
                Op::Delete { key } => (key, None, 0),
            };
            if lease != 0 && !self.state.leases.contains_key(&lease) {
                return Err(Error::NoLease { lease });
            }
            let key = key.into();
            writes.push(Write { key, value, lease });
        }
        self.apply(writes);
        Ok(Txn::Committed { revision: self.state.revision })
    }

    fn apply(&mut self, writes: Vec<Write>) {
        if let Some(commit) = self.state.apply(writes) {
            entry::put_commit(&mut self.record, self.state.revision, &commit);
        }
    }

    fn grant(&mut self, ttl_s: i64) -> LeaseId {
        let id = lease::fresh_id(&self.state);
        self.state.grant(id, ttl_s);
        entry::put_grant(&mut self.record, id, ttl_s);
        self.granted.push((id, ttl_s));
        id
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision > self.state.revision {
            return Err(Error::Future { wanted: revision, newest: self.state.revision });
        }
        if revision > self.state.compacted {
            self.state.compact(revision);
            entry::put_compact(&mut self.record, revision);
            self.compacted = true;
        }
        Ok(())
    }

    /// Removes keys of leases that have ended, as far as the group has room.
    fn end_leases(&mut self) {
        self.ended.extend(self.deadlines.take_ended());
        while self.record.len() < GROUP_BYTES_MAX
            && let Some(id) = self.ended.front().copied()
        {
            let Some(lease) = self.state.leases.get(&id) else {
                self.ended.pop_front();
                continue;
            };
            let keys = lease.keys.iter().take(LEASE_KEYS_PER_REVISION);
            let writes: Vec<_> =
                keys.map(|key| Write { key: key.clone(), value: None, lease: 0 }).collect();
            if writes.is_empty() {
                self.state.leases.remove(&id);
                self.ending.push(id);
                entry::put_end(&mut self.record, id);
            } else {
                self.apply(writes);
            }
        }
    }

    /// Syncs the group in hand, publishes it and answers.
    fn finish_group(&mut self) {
        let dirty = self.record.len() > FRAME_BYTES;
        let result = match dirty {
            true => self.log.append(&mut self.record),
            false => Ok(()),
        };
        match &result {
            Ok(()) if dirty => {
                self.log_bytes += self.record.len() as u64;
                self.published.send_replace(Arc::new(self.state.clone()));
                self.ending.clear();
                for (id, ttl_s) in self.granted.drain(..) {
                    self.deadlines.start(id, ttl_s);
                }
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!("a group of writes failed: {error}");
                self.roll_back();
            }
        }
        self.record.truncate(FRAME_BYTES);
        self.record.shrink_to(RECORD_BYTES_KEPT);
        for answer in self.answers.drain(..) {
            answer.send(result.as_ref().err());
        }
        self.places.clear();
        if mem::take(&mut self.compacted) && result.is_ok() {
            self.maybe_rewrite();
        }
    }

    /// Goes back to what is durable. Leases that should have ended are tried again.
    fn roll_back(&mut self) {
        self.state = State::clone(&self.published.borrow());
        self.granted.clear();
        let ended = self.ending.drain(..).chain(self.ended.drain(..));
        self.deadlines.again(LEASE_RETRY, ended);
    }

    /// Starts a new segment and a snapshot in place of the old ones, if that frees enough.
    fn maybe_rewrite(&mut self) {
        if let Some(running) = self.snapshotting.take_if(|running| running.thread.is_finished())
            && let Ok(Some(length)) = running.thread.join()
        {
            self.snapshot_bytes = length;
        }
        let worth_it = self.log_bytes >= self.rewrite.log_bytes_min
            && self.log_bytes >= self.snapshot_bytes / 2;
        if !worth_it || self.snapshotting.is_some() {
            return;
        }
        if let Err(error) = self.log.roll() {
            tracing::warn!(%error, "the log stays as it is after the compaction");
            return;
        }
        self.log_bytes = 0;
        let stop = Arc::new(AtomicBool::new(false));
        let (disk, state, sequence) = (self.disk.clone(), self.state.clone(), self.log.sequence);
        let stopped = stop.clone();
        let job = move || take_snapshot(&disk, &state, sequence, &stopped);
        if self.rewrite.inline {
            self.snapshot_bytes = job().unwrap_or(self.snapshot_bytes);
            return;
        }
        match thread::Builder::new().name("store-snapshot".into()).spawn(job) {
            Ok(thread) => self.snapshotting = Some(Snapshotting { thread, stop }),
            Err(error) => tracing::warn!(%error, "no snapshot: cannot start its thread"),
        }
    }
}

/// Writes a snapshot and removes what it stands for; its length. Without one the log before
/// it stays, and the next compaction tries again.
fn take_snapshot(
    disk: &Arc<dyn Disk>,
    state: &State,
    sequence: u64,
    stop: &AtomicBool,
) -> Option<u64> {
    let written = snapshot::write(disk, state, sequence, stop);
    let removed = written.and_then(|length| {
        snapshot::remove_older(disk, sequence)?;
        Ok(length)
    });
    match removed {
        Ok(length) => Some(length),
        Err(_) if stop.load(Ordering::Relaxed) => None,
        Err(error) => {
            tracing::warn!(%error, "the log could not be rewritten, its old files stay");
            None
        }
    }
}
