//! Watches: initial objects, then every event after a revision, each once and in order.
//!
//! A watcher holds a position in the cache's events, no queue of its own: the events kept
//! are the bound, and one that falls behind them ends with 410. Never skips an event.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use api::status::ApiError;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use serde_json::{Value, json};
use store::Revision;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    encode::Form,
    failure::Failure,
    request::Query,
    resource::Resource,
    select::Selection,
    server::Server,
    watch_cache::{
        entry::Entry,
        state::{Event, EventType, State, event_line},
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
    let mut watcher = Watcher {
        changed,
        selection,
        form,
        bookmarks: options.bookmarks,
        next_seq: state.next_seq(),
        sent: reached.max(state.revision),
        initial: VecDeque::new(),
        initial_end: options.initial_end,
        bookmark_at: Instant::now() + BOOKMARK_INTERVAL,
        ends_at: Instant::now() + options.timeout,
        headers: true,
        ended: false,
        resource,
        server: server.clone(),
    };
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
    server: Arc<Server>,
    resource: Arc<Resource>,
    changed: watch::Receiver<u64>,
    selection: Selection,
    form: Form,
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
    /// Whether the next table names its columns.
    headers: bool,
    ended: bool,
}

impl Watcher {
    fn begin(&mut self, state: &State) {
        let prefix: Arc<str> = self.selection.prefix.as_str().into();
        self.initial = state
            .items
            .range(prefix..)
            .take_while(|(key, _)| key.starts_with(&self.selection.prefix))
            .filter(|(_, entry)| self.selection.matches(entry))
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
            let stop = self.server.stop.clone();
            let removed = self.resource.removed.clone();
            tokio::select! {
                changed = self.changed.changed() => self.ended |= changed.is_err(),
                () = sleep_until(self.bookmark_at), if self.bookmarks => {
                    let mut chunk = Chunk::default();
                    self.push_events(&mut chunk);
                    if !self.ended && !chunk.is_full() {
                        self.push_bookmark(&mut chunk, false);
                    }
                    return chunk.finish();
                }
                () = sleep_until(self.ends_at) => return self.end(),
                () = stop.cancelled() => return self.end(),
                () = removed.cancelled() => return self.end(),
            }
        }
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
            let line = match self.form {
                Form::Object if self.resource.version().is_none() => {
                    event_line(EventType::Added.name(), &entry.json)
                }
                _ => self.formed_line(EventType::Added, &entry.json),
            };
            chunk.push(line);
        }
    }

    fn push_events(&mut self, chunk: &mut Chunk) {
        // Marked as seen before the states are loaded: a change after that wakes again.
        self.changed.borrow_and_update();
        let reached = self.server.progress.reached();
        let state = self.resource.cache.load();
        if self.next_seq < state.first_seq {
            self.ended = true;
            chunk.push(self.expired(&state));
            return;
        }
        while let Some(event) = state.event(self.next_seq) {
            if chunk.is_full() {
                return;
            }
            self.next_seq += 1;
            self.sent = event.revision;
            if let Some(how) = self.tell(event) {
                let line = match self.form {
                    Form::Object if self.resource.version().is_none() => event.line(how),
                    _ => self.formed_line(how, &event.object(how)),
                };
                chunk.push(line);
            }
        }
        self.sent = self.sent.max(reached).max(state.revision);
    }

    /// How this watcher is told of an event: an object that comes into its selection is
    /// added, one that leaves it is deleted.
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

    fn formed_line(&mut self, how: EventType, json: &[u8]) -> Bytes {
        let headers = std::mem::take(&mut self.headers);
        match event_object(&self.resource, json, self.form, headers) {
            Ok(value) => event_line(how.name(), value.to_string().as_bytes()),
            Err(failure) => {
                self.ended = true;
                event_line("ERROR", &failure.0.to_json())
            }
        }
    }

    fn expired(&self, state: &State) -> Bytes {
        let message = format!("too old resource version: {} ({})", self.sent, state.floor);
        event_line("ERROR", &ApiError::expired(message).to_json())
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
        let resource = &*self.resource;
        let object = match self.form {
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
        chunk.push(event_line("BOOKMARK", object.to_string().as_bytes()));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.server.metrics.watchers.dec();
    }
}

/// Lines on their way out. A single one is passed on without a copy.
#[derive(Default)]
struct Chunk {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Chunk {
    fn push(&mut self, line: Bytes) {
        match self.first.take() {
            None if self.more.is_empty() => self.first = Some(line),
            first => {
                if let Some(first) = first {
                    self.more.extend_from_slice(&first);
                }
                self.more.extend_from_slice(&line);
            }
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
