//! Watches: initial objects, then every event after a revision, each once and in order.
//!
//! A watcher holds a position in the cache's events, no queue of its own: the events kept
//! are the bound, and one that falls behind them ends with 410. What it sends, it shares with
//! the watchers of the same selection and form. Never skips an event.

use std::{collections::VecDeque, convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use api::status::ApiError;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use serde_json::{Value, json};
use store::Revision;
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    encode::Form,
    failure::Failure,
    json::Json,
    request::Query,
    resource::Resource,
    select::Selection,
    server::Server,
    watch_cache::{
        entry::Entry,
        share::{Block, Shared},
        state::{Event, EventType, State},
    },
};

use super::{
    list::parse_version,
    render::{empty_table, event_object},
};

/// Time between bookmarks, for watchers that asked for them.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(55);

/// A watch without `timeoutSeconds` ends after 30 to 60 minutes, as upstream.
const DEFAULT_TIMEOUT_S: u64 = 1_800;

/// Longest `timeoutSeconds` that is taken at its word.
const MAX_TIMEOUT_S: u64 = 86_400;

/// Events that are ready are sent together, up to about this many bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Marks the bookmark after the initial objects of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Answers with a stream of events.
pub async fn watch(
    server: Arc<Server>,
    resource: Arc<Resource>,
    selection: Selection,
    form: Form,
    query: &Query,
) -> Result<Response<Body>, Failure> {
    let options = WatchOptions::parse(query)?;
    let mut changed = resource.cache.subscribe();
    match options.from {
        From::Newest => server.progress.wait_fresh(&*server.store).await?,
        From::Any => {}
        From::After(revision) | From::NotOlderThan(revision) => {
            server.progress.wait(revision).await?;
        }
    }
    changed.borrow_and_update();
    let reached = server.progress.reached();
    let state = resource.cache.load();
    let now = Instant::now();
    let (bookmark_at, ends_at) = (now + BOOKMARK_INTERVAL, now + options.timeout);
    let mut watcher = Box::new(Watcher {
        shared: resource.cache.share(format!("{} {form:?} {selection:?}", resource.api_version())),
        stopped: Box::pin(server.stop.clone().cancelled_owned()),
        removed: Box::pin(resource.removed.clone().cancelled_owned()),
        lines: Lines { server: server.clone(), resource, selection, form, headers: true },
        changed,
        bookmarks: options.bookmarks,
        next_seq: state.next_seq(),
        sent: reached.max(state.revision),
        initial: VecDeque::new(),
        initial_end: options.initial_end,
        bookmark_at,
        ends_at,
        alarm: Box::pin(sleep_until(if options.bookmarks {
            bookmark_at.min(ends_at)
        } else {
            ends_at
        })),
        ended: false,
    });
    match options.from {
        From::After(revision) => match state.seq_after(revision) {
            Some(seq) => {
                watcher.next_seq = seq;
                watcher.sent = revision;
            }
            None => {
                watcher.initial_end = false;
                watcher.next_seq = 0;
                watcher.sent = state.floor;
            }
        },
        From::Newest | From::Any | From::NotOlderThan(_) => watcher.begin(&state),
    }
    server.metrics.watchers.inc();
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<_, Infallible>(chunk), watcher))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// All objects as of now, then events.
    Newest,
    /// All objects as of whatever the cache holds, then events.
    Any,
    /// All objects as of this revision or a newer one, then events.
    NotOlderThan(Revision),
    /// Every event after this revision.
    After(Revision),
}

struct WatchOptions {
    from: From,
    bookmarks: bool,
    initial_end: bool,
    timeout: Duration,
}

impl WatchOptions {
    fn parse(query: &Query) -> Result<Self, Failure> {
        let version = query.get("resourceVersion").map(parse_version).transpose()?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let matching = query.get("resourceVersionMatch");
        if initial.is_some() && matching != Some("NotOlderThan") {
            return Err(Failure::bad_request(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if initial.is_none() && matching.is_some() {
            return Err(Failure::bad_request(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        let from = match (initial, version) {
            (Some(true), None) => From::Newest,
            (Some(true), Some(0)) => From::Any,
            (Some(true), Some(version)) => From::NotOlderThan(version),
            (_, None) => From::Newest,
            (_, Some(0)) => From::Any,
            (_, Some(version)) => From::After(version),
        };
        let timeout_s = match query.get("timeoutSeconds") {
            None => rand::random_range(DEFAULT_TIMEOUT_S..2 * DEFAULT_TIMEOUT_S),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| {
                    Failure::bad_request(format!("timeoutSeconds: invalid value {text:?}"))
                })?
                .min(MAX_TIMEOUT_S),
        };
        Ok(Self {
            from,
            bookmarks,
            initial_end: initial == Some(true) && bookmarks,
            timeout: Duration::from_secs(timeout_s),
        })
    }
}

struct Watcher {
    lines: Lines,
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    bookmarks: bool,
    /// The next event to look at.
    next_seq: u64,
    /// Everything up to this revision was looked at.
    sent: Revision,
    /// Objects still to be sent as ADDED.
    initial: VecDeque<Arc<Entry>>,
    /// A bookmark that says so is due after the initial objects.
    initial_end: bool,
    bookmark_at: Instant,
    ends_at: Instant,
    /// Rings for the next of both.
    alarm: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The kind is served no more.
    removed: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl Watcher {
    fn begin(&mut self, state: &State) {
        let selection = &self.lines.selection;
        let prefix: Arc<str> = selection.prefix.as_str().into();
        self.initial = state
            .items
            .range(prefix..)
            .take_while(|(key, _)| key.starts_with(&selection.prefix))
            .filter(|(_, entry)| selection.matches(entry))
            .map(|(_, entry)| entry.clone())
            .collect();
    }

    /// The next bytes; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            if Instant::now() >= self.ends_at {
                return self.end();
            }
            let mut chunk = Chunk::default();
            self.push_initial(&mut chunk);
            if self.initial.is_empty() {
                if std::mem::take(&mut self.initial_end) {
                    self.push_bookmark(&mut chunk, true);
                }
                self.push_events(&mut chunk);
            }
            if let Some(bytes) = chunk.finish() {
                return Some(bytes);
            }
            tokio::select! {
                changed = self.changed.changed() => self.ended |= changed.is_err(),
                () = self.alarm.as_mut() => {
                    if Instant::now() >= self.ends_at {
                        return self.end();
                    }
                    let mut chunk = Chunk::default();
                    self.push_events(&mut chunk);
                    if self.bookmarks && !self.ended && !chunk.is_full() {
                        self.push_bookmark(&mut chunk, false);
                    }
                    self.set_alarm();
                    return chunk.finish();
                }
                () = self.stopped.as_mut() => return self.end(),
                () = self.removed.as_mut() => return self.end(),
            }
        }
    }

    /// The alarm rings where a bookmark may be due: one that was sent meanwhile has moved it.
    fn set_alarm(&mut self) {
        let bookmark_at = if self.bookmarks { self.bookmark_at } else { self.ends_at };
        self.alarm.as_mut().reset(bookmark_at.min(self.ends_at));
    }

    /// The last bytes of a watch that ends in good order.
    fn end(&mut self) -> Option<Bytes> {
        let mut chunk = Chunk::default();
        if self.initial.is_empty() && !self.initial_end {
            self.push_events(&mut chunk);
            if self.bookmarks && !self.ended && !chunk.is_full() {
                self.push_bookmark(&mut chunk, false);
            }
        }
        self.ended = true;
        chunk.finish()
    }

    fn push_initial(&mut self, chunk: &mut Chunk) {
        while !chunk.is_full() {
            let Some(entry) = self.initial.pop_front() else {
                return;
            };
            self.ended |= !self.lines.push(&mut chunk.more, EventType::Added, &entry.json);
        }
    }

    fn push_events(&mut self, chunk: &mut Chunk) {
        // Marked as seen before the states are loaded: a change after that wakes again.
        self.changed.borrow_and_update();
        let lines = &mut self.lines;
        let reached = lines.server.progress.reached();
        let state = lines.resource.cache.load();
        if self.next_seq < state.first_seq {
            self.ended = true;
            let message = format!("too old resource version: {} ({})", self.sent, state.floor);
            push_line(&mut chunk.more, "ERROR", &ApiError::expired(message).to_json());
            return;
        }
        while self.next_seq < state.next_seq() {
            if chunk.is_full() {
                return;
            }
            let from = self.next_seq;
            let block = match lines.alike() {
                true => self.shared.block(from, |until| lines.block(&state, from, until)),
                false => lines.block(&state, from, None),
            };
            self.next_seq = block.to;
            self.sent = block.revision;
            self.ended |= block.failed;
            chunk.push(block.bytes);
        }
        self.sent = self.sent.max(reached).max(state.revision);
    }

    /// Says up to which revision everything was sent.
    fn push_bookmark(&mut self, chunk: &mut Chunk, initial_end: bool) {
        self.bookmark_at = Instant::now() + BOOKMARK_INTERVAL;
        let mut metadata = json!({
            "creationTimestamp": Value::Null,
            "resourceVersion": self.sent.to_string(),
        });
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let resource = &*self.lines.resource;
        let object = match self.lines.form {
            Form::Table(_) => empty_table(resource, metadata),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Form::Object => json!({
                "kind": resource.names.kind,
                "apiVersion": resource.api_version(),
                "metadata": metadata,
            }),
        };
        chunk.join();
        push_line(&mut chunk.more, "BOOKMARK", object.to_string().as_bytes());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.lines.server.metrics.watchers.dec();
    }
}

/// From events to lines: the same for every watcher of one selection and form.
struct Lines {
    server: Arc<Server>,
    resource: Arc<Resource>,
    selection: Selection,
    form: Form,
    /// Whether the next table names its columns.
    headers: bool,
}

impl Lines {
    /// Whether the next lines are those of the other watchers, too: only a watch's first table
    /// names its columns.
    fn alike(&self) -> bool {
        !(self.headers && matches!(self.form, Form::Table(_)))
    }

    /// The lines of the events from one on, up to another one or until there are enough.
    fn block(&mut self, state: &State, from: u64, until: Option<u64>) -> Block {
        let until = until.unwrap_or(u64::MAX).min(state.next_seq());
        let mut block =
            Block { from, to: from, revision: state.revision, bytes: Bytes::new(), failed: false };
        let mut lines = BytesMut::new();
        while block.to < until
            && lines.len() < CHUNK_BYTES
            && !block.failed
            && let Some(event) = state.event(block.to)
        {
            block.to += 1;
            block.revision = event.revision;
            if let Some(how) = self.tell(event)
                && let Some(json) = event.object(how)
            {
                block.failed = !self.push(&mut lines, how, &json);
            }
        }
        block.bytes = lines.freeze();
        block
    }

    /// How a watcher is told of an event: an object that comes into its selection is added,
    /// one that leaves it is deleted.
    fn tell(&self, event: &Event) -> Option<EventType> {
        let selected = |entry: &Option<Arc<Entry>>| {
            entry.as_ref().is_some_and(|entry| self.selection.matches(entry))
        };
        match (selected(&event.previous), selected(&event.current)) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// Appends an event's line. `false`: it is an error, and the last one.
    fn push(&mut self, into: &mut BytesMut, how: EventType, json: &Json) -> bool {
        if self.form == Form::Object && self.resource.version().is_none() {
            into.reserve(json.size() + LINE_BYTES);
            begin_line(into, how.name());
            json.put(into);
            end_line(into);
            return true;
        }
        let headers = std::mem::take(&mut self.headers);
        match event_object(&self.resource, &json.to_bytes(), self.form, headers) {
            Ok(value) => push_line(into, how.name(), value.to_string().as_bytes()),
            Err(failure) => {
                push_line(into, "ERROR", &failure.0.to_json());
                return false;
            }
        }
        true
    }
}

/// Room for what is around the object in a line.
const LINE_BYTES: usize = 40;

/// `{"type":TYPE,"object":OBJECT}` and a line feed.
fn push_line(into: &mut BytesMut, name: &str, object: &[u8]) {
    begin_line(into, name);
    into.extend_from_slice(object);
    end_line(into);
}

fn begin_line(into: &mut BytesMut, name: &str) {
    into.extend_from_slice(b"{\"type\":\"");
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b"\",\"object\":");
}

fn end_line(into: &mut BytesMut) {
    into.extend_from_slice(b"}\n");
}

/// Lines on their way out. A single block is passed on without a copy.
#[derive(Default)]
struct Chunk {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Chunk {
    fn push(&mut self, lines: Bytes) {
        if lines.is_empty() {
            return;
        }
        if self.is_empty() {
            self.first = Some(lines);
            return;
        }
        self.join();
        self.more.extend_from_slice(&lines);
    }

    /// Makes `more` all there is, so that it can be appended to.
    fn join(&mut self) {
        if let Some(first) = self.first.take() {
            self.more.extend_from_slice(&first);
        }
    }

    fn is_full(&self) -> bool {
        self.more.len() + self.first.as_ref().map_or(0, Bytes::len) >= CHUNK_BYTES
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    fn finish(self) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        Some(self.first.unwrap_or_else(|| self.more.freeze()))
    }
}
