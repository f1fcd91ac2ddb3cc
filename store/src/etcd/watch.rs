//! A watch on etcd: one task that always reads, and a bounded queue to the reader.
//!
//! Each watch has a connection of its own: an unread one then fills no other's window. While
//! history is replayed a full queue makes etcd wait; once the watch has caught up it is cut
//! off instead. Progress is passed on only where it is certain that every event before it
//! has been: one that etcd sent for this very watch, or an asked-for one of a server that is
//! known to keep the order. Any other server is asked by a write: the mark, a key below the
//! watch's prefix, comes after all that was there before it, and is passed on as progress.
//! Never reconnects: its reader decides from where.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use etcd_client::{
    Client, EventType, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream,
};
use futures::stream;
use tokio::{
    sync::watch as signal,
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use crate::{
    Error, Event, Revision, WatchItem, WatchStream,
    etcd::{
        MESSAGE_BYTES_MAX, REQUEST_TIMEOUT,
        answer::{Refusal, key_value, prefix_end, prefix_start, refusal},
        options::Connector,
        queue::Queue,
    },
    limits::WATCH_PROGRESS_PERIOD,
};

/// The mark's key below the watch's prefix. There is one, without a value.
const MARK: &str = "coracle.io/progress";

/// The watch id of a progress that was asked for.
const ALL_WATCHES: i64 = -1;

/// What a watch needs besides its prefix.
pub(super) struct Start {
    pub connector: Connector,
    /// From here on, not 0.
    pub from: Revision,
    /// Nothing before `from` was wanted: this much progress is certain from the start.
    pub known: Option<Revision>,
    /// Changes whenever someone wants progress.
    pub wanted: signal::Receiver<u64>,
    /// Whether asked-for progress can be believed.
    pub truthful: Arc<AtomicBool>,
}

/// Starts a watch; etcd has it when this returns.
pub(super) async fn start(prefix: &str, start: Start) -> Result<WatchStream, Error> {
    let client = start.connector.client().await?;
    let options = WatchOptions::new()
        .with_range(prefix_end(prefix))
        .with_start_revision(start.from)
        .with_prev_key()
        .with_fragment()
        .with_progress_notify();
    let mut watches = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let call = watches.watch(prefix_start(prefix), Some(options));
    let watch = time::timeout(REQUEST_TIMEOUT, call)
        .await
        .map_err(|_| Error::Unavailable("etcd does not answer a watch".into()))?
        .map_err(|error| lost(&error))?;
    let (sender, responses) = watch.split();
    let queue = Arc::new(Queue::default());
    if let Some(known) = start.known {
        queue.push(WatchItem::Progress(known), true).await?;
    }
    let follower = Follower {
        sender,
        client: client.clone(),
        mark: format!("{prefix}{MARK}"),
        marking: None,
        queue: queue.clone(),
        from: start.from,
        live_from: Revision::MAX,
        caught_up: false,
        newest: start.known.unwrap_or(0),
        part: Vec::new(),
        asked: false,
        truthful: start.truthful,
    };
    let wanted = start.wanted;
    let task = AbortOnDrop(tokio::spawn(async move {
        let queue = follower.queue.clone();
        let error = match follower.run(responses, wanted).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        queue.end(error);
    }));
    Ok(Box::pin(stream::unfold(Some((queue, task)), |reading| async {
        let (queue, task) = reading?;
        let item = queue.pop().await;
        let going_on = item.is_ok().then_some((queue, task));
        Some((item, going_on))
    })))
}

/// Ends a watch's task with its reader.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lost(error: &etcd_client::Error) -> Error {
    match refusal(error, 0) {
        Refusal::NotSent(error) | Refusal::Other(error) => error,
        other => Error::Unavailable(format!("etcd: the watch ended: {other:?}")),
    }
}

/// Reads one watch.
struct Follower {
    sender: WatchRequestSender,
    /// Writes the mark.
    client: Client,
    /// The mark's key.
    mark: String,
    /// The write of the mark that is under way.
    marking: Option<AbortOnDrop>,
    queue: Arc<Queue>,
    from: Revision,
    /// The server's revision when it took the watch: what comes after it is not history.
    live_from: Revision,
    caught_up: bool,
    /// The newest revision that was passed on.
    newest: Revision,
    /// Events of a response that came in several messages.
    part: Vec<etcd_client::proto::PbEvent>,
    /// Whether an answer to a request for progress is still to come.
    asked: bool,
    truthful: Arc<AtomicBool>,
}

impl Follower {
    async fn run(
        mut self,
        mut responses: WatchResponseStream,
        mut wanted: signal::Receiver<u64>,
    ) -> Result<std::convert::Infallible, Error> {
        let mut tick = time::interval(WATCH_PROGRESS_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                response = responses.message() => match response {
                    Ok(Some(response)) => self.take(response).await?,
                    Ok(None) => {
                        return Err(Error::Unavailable("etcd closed the watch".into()));
                    }
                    Err(error) => return Err(lost(&error)),
                },
                Ok(()) = wanted.changed(), if !self.asked && self.marking.is_none() => {
                    if self.truthful.load(Ordering::Relaxed) {
                        self.ask().await?;
                    } else {
                        self.write_mark();
                    }
                }
                () = ended(&mut self.marking) => self.marking = None,
                _ = tick.tick() => if self.truthful.load(Ordering::Relaxed) {
                    self.ask().await?;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Error> {
        self.asked = true;
        let sent = self.sender.request_progress().await;
        sent.map_err(|error| lost(&error))
    }

    /// Beside the reading, which must not wait for it. One at a time: who asks meanwhile may
    /// know of a revision after it, and gets the next one.
    fn write_mark(&mut self) {
        let (mut client, mark) = (self.client.clone(), self.mark.clone());
        self.marking = Some(AbortOnDrop(tokio::spawn(async move {
            let written = time::timeout(REQUEST_TIMEOUT, client.put(mark, "", None));
            if !matches!(written.await, Ok(Ok(_))) {
                // Who waits for it gives up in time, and asks again.
                tracing::debug!("the progress mark could not be written to etcd");
            }
        })));
    }

    async fn take(&mut self, response: WatchResponse) -> Result<(), Error> {
        let mut response = response.0;
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled {
            return Err(match response.compact_revision {
                0 => {
                    Error::Unavailable(format!("etcd ended the watch: {}", response.cancel_reason))
                }
                oldest => Error::Compacted { wanted: self.from, oldest },
            });
        }
        if response.created {
            self.live_from = revision;
            return Ok(());
        }
        self.part.append(&mut response.events);
        if response.fragment {
            return Ok(());
        }
        if !self.part.is_empty() {
            return self.deliver().await;
        }
        if response.watch_id == ALL_WATCHES {
            self.asked = false;
            if !self.truthful.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        self.caught_up = true;
        // Another member, behind the last one, may answer after a reconnection.
        if revision >= self.newest {
            self.newest = revision;
            let progress = WatchItem::Progress(revision);
            self.queue.push(progress, false).await?;
        }
        Ok(())
    }

    async fn deliver(&mut self) -> Result<(), Error> {
        let events = std::mem::take(&mut self.part);
        let newest = events.iter().filter_map(|event| event.kv.as_ref());
        let newest = newest.map(|kv| kv.mod_revision).max().unwrap_or(0);
        self.newest = self.newest.max(newest);
        self.from = self.newest + 1;
        let changes = events.into_iter().filter(|event| !self.is_mark(event));
        let changes: Vec<_> = changes.map(event).collect::<Result<_, _>>()?;
        let item = match changes.is_empty() {
            true => WatchItem::Progress(self.newest),
            false => WatchItem::Events(changes),
        };
        let patient = !self.caught_up;
        self.queue.push(item, patient).await?;
        self.caught_up |= newest >= self.live_from;
        Ok(())
    }

    fn is_mark(&self, event: &etcd_client::proto::PbEvent) -> bool {
        let kv = event.kv.as_ref();
        kv.is_some_and(|kv| kv.key == self.mark.as_bytes())
    }
}

/// Resolves when the task has ended; without one, never.
async fn ended(task: &mut Option<AbortOnDrop>) {
    match task {
        Some(task) => drop((&mut task.0).await),
        None => std::future::pending().await,
    }
}

/// An event with what was before. etcd leaves that out where it has been compacted; the
/// reader then has to start anew, like after any compaction.
fn event(event: etcd_client::proto::PbEvent) -> Result<Event, Error> {
    let is_put = event.r#type == EventType::Put as i32;
    let previous = event.prev_kv.map(|kv| key_value(etcd_client::KeyValue(kv))).transpose()?;
    let kv = event.kv.map(|kv| key_value(etcd_client::KeyValue(kv))).transpose()?;
    let kv = kv.ok_or_else(|| Error::Unavailable("etcd sent an event without a key".into()))?;
    let revision = kv.mod_revision;
    let forgotten = Error::Compacted { wanted: revision, oldest: revision + 1 };
    match (is_put, previous) {
        (true, None) if kv.create_revision < revision => Err(forgotten),
        (true, previous) => Ok(Event::Put { kv, previous }),
        (false, Some(previous)) => Ok(Event::Delete { previous, revision }),
        (false, None) => Err(forgotten),
    }
}
