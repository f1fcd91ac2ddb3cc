//! The objects of a kind as they come, change and go: listed, watched, and listed again where
//! the watch cannot go on.
//!
//! Never polls and never drops a change: what went while nobody watched is told as gone, so
//! that a follower cannot tell a new list from a watch that never broke.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::back_off::BackOff;
use crate::key::{Key, Life};

/// Objects asked for at once; as many as client-go does.
const PAGE: u32 = 500;
/// How long a watch is asked to last, in seconds; less than the five minutes that load
/// balancers and stock API servers cut it at.
const WATCH_S: u32 = 290;
/// How much later a watch that has not ended is given up: the server has forgotten it.
const OVERDUE: Duration = Duration::from_secs(30);
/// Between tries to reach the API server. Short, since what is known gets stale meanwhile;
/// there is one client of this kind a node.
const RETRY: BackOff = BackOff::new(Duration::from_millis(200), Duration::from_secs(5));
/// A watch that ends sooner, or a revision that is too old again sooner, is a failure.
const SOON: Duration = Duration::from_secs(1);
/// Between two complaints about one kind.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What a follower is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Update<K> {
    /// A complete list begins, of objects that may all be known; it ends with `Synced`. Another
    /// one that was under way has broken off.
    Listing,
    /// The object is there, in this state.
    Set(K),
    /// The object is there no more.
    Gone(Life),
    /// All that there is has been told.
    Synced,
}

/// Follows what `api` covers for ever; only objects that match the field selector `fields`,
/// where that is not empty.
pub fn follow<K>(api: Api<K>, fields: &str) -> BoxStream<'static, Update<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let fields = Some(fields.to_owned()).filter(|fields| !fields.is_empty());
    updates(Served { api, fields })
}

fn updates<K, S>(server: S) -> BoxStream<'static, Update<K>>
where
    K: Resource + Clone + Send + 'static,
    S: Server<K> + Send + 'static,
{
    let follower = Follower::new(server);
    stream::unfold(follower, |mut follower| async move {
        let update = follower.next().await;
        Some((update, follower))
    })
    .boxed()
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// What is asked of the API server.
trait Server<K>: Sync {
    /// What is listed, for the log.
    fn path(&self) -> &str;

    fn list(&self, token: Option<&str>) -> impl Future<Output = kube::Result<ObjectList<K>>> + Send
    where
        K: Clone;

    fn watch(&self, from: &str) -> impl Future<Output = kube::Result<Events<K>>> + Send;
}

struct Served<K> {
    api: Api<K>,
    fields: Option<String>,
}

impl<K> Server<K> for Served<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn path(&self) -> &str {
        self.api.resource_url()
    }

    async fn list(&self, token: Option<&str>) -> kube::Result<ObjectList<K>> {
        let params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            continue_token: token.map(str::to_owned),
            ..ListParams::default()
        };
        self.api.list(&params).await
    }

    async fn watch(&self, from: &str) -> kube::Result<Events<K>> {
        let mut params = WatchParams::default().timeout(WATCH_S);
        params.field_selector = self.fields.clone();
        Ok(self.api.watch(&params, from).await?.boxed())
    }
}

/// Where a follower stands.
enum State<K> {
    /// Out of step: a list comes next.
    Empty,
    /// A list is coming in; the token of its next page.
    Listing(Option<String>),
    /// In step up to a revision; a watch from there comes next.
    Synced(String),
    /// In step, and told of what changes.
    Watching(Watch<K>),
    /// Something failed; what is known stays, and after that moment comes the state in the box.
    BackingOff(Instant, Box<State<K>>),
}

struct Watch<K> {
    from: String,
    events: Events<K>,
    since: Instant,
}

struct Follower<K, S> {
    server: S,
    state: State<K>,
    /// Each known object's UID, and the list or watch that last told of it.
    lives: HashMap<Key, (String, u64)>,
    /// The number of the present list.
    round: u64,
    /// Told, but not taken yet: a page, or what a list found missing.
    ready: VecDeque<Update<K>>,
    back_off: BackOff,
    expired: Option<Instant>,
    complained: Option<Instant>,
}

impl<K: Resource + Clone, S: Server<K>> Follower<K, S> {
    fn new(server: S) -> Self {
        Self {
            server,
            state: State::Empty,
            lives: HashMap::new(),
            round: 0,
            ready: VecDeque::new(),
            back_off: RETRY,
            expired: None,
            complained: None,
        }
    }

    async fn next(&mut self) -> Update<K> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return update;
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => {
                self.round += 1;
                self.ready.push_back(Update::Listing);
                State::Listing(None)
            }
            State::Listing(token) => match self.server.list(token.as_deref()).await {
                Ok(list) => self.listed(list),
                Err(error) => self.failed(error, State::Empty),
            },
            State::Synced(from) => match self.server.watch(&from).await {
                Ok(events) => State::Watching(Watch { from, events, since: Instant::now() }),
                Err(error) => self.failed(error, State::Synced(from)),
            },
            State::Watching(mut watch) => {
                let patience = Duration::from_secs(WATCH_S.into()) + OVERDUE;
                match timeout_at(watch.since + patience, watch.events.next()).await {
                    Ok(Some(Ok(event))) => self.told(watch, event),
                    Ok(Some(Err(error))) => self.broken(watch, error),
                    Ok(None) if watch.since.elapsed() < SOON => {
                        self.back_off("the watch ended at once", State::Synced(watch.from))
                    }
                    Ok(None) | Err(_) => State::Synced(watch.from),
                }
            }
            State::BackingOff(until, next) => {
                sleep_until(until).await;
                *next
            }
        };
    }

    fn listed(&mut self, list: ObjectList<K>) -> State<K> {
        for object in list.items {
            self.set(object);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => State::Listing(Some(token)),
            None => {
                let round = self.round;
                let missing = self.lives.extract_if(|_, (_, told)| *told != round);
                self.ready.extend(
                    missing.map(|(key, (uid, _))| Update::Gone(Life { key, uid, revision: 0 })),
                );
                self.ready.push_back(Update::Synced);
                State::Synced(list.metadata.resource_version.unwrap_or_default())
            }
        }
    }

    fn told(&mut self, mut watch: Watch<K>, event: WatchEvent<K>) -> State<K> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                watch.from = object.meta().resource_version.clone().unwrap_or(watch.from);
                self.set(object);
            }
            WatchEvent::Deleted(object) => {
                watch.from = object.meta().resource_version.clone().unwrap_or(watch.from);
                self.gone(&object);
            }
            WatchEvent::Bookmark(mark) => watch.from = mark.metadata.resource_version,
            WatchEvent::Error(status) => return self.broken(watch, kube::Error::Api(status)),
        }
        self.back_off.end();
        State::Watching(watch)
    }

    fn set(&mut self, object: K) {
        let key = Key::of(&object);
        let uid = object.meta().uid.clone().unwrap_or_default();
        match self.lives.get_mut(&key) {
            Some((known, told)) => {
                *told = self.round;
                if *known != uid {
                    let uid = std::mem::replace(known, uid);
                    self.ready.push_back(Update::Gone(Life { key, uid, revision: 0 }));
                }
            }
            None => drop(self.lives.insert(key, (uid, self.round))),
        }
        self.ready.push_back(Update::Set(object));
    }

    fn gone(&mut self, object: &K) {
        let life = Life::ended(object);
        if self.lives.get(&life.key).is_some_and(|(known, _)| *known == life.uid) {
            self.lives.remove(&life.key);
        }
        self.ready.push_back(Update::Gone(life));
    }

    fn broken(&mut self, watch: Watch<K>, error: kube::Error) -> State<K> {
        if watch.since.elapsed() >= SOON {
            self.back_off.end();
        }
        self.failed(error, State::Synced(watch.from))
    }

    /// After a failure comes `next`. A revision that is no longer known, as after a new start of
    /// a stock API server, is none: all that it needs is a list.
    fn failed(&mut self, error: kube::Error, next: State<K>) -> State<K> {
        if !matches!(&error, kube::Error::Api(status) if is_expired(status)) {
            return self.back_off(&error.to_string(), next);
        }
        let before = self.expired.replace(Instant::now());
        if before.is_none_or(|at| at.elapsed() >= SOON) {
            return State::Empty;
        }
        self.back_off(&error.to_string(), State::Empty)
    }

    fn back_off(&mut self, failure: &str, next: State<K>) -> State<K> {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            let path = self.server.path();
            tracing::warn!(path, failure, "cannot watch; trying again, what is known stays");
        }
        State::BackingOff(Instant::now() + self.back_off.lengthen(), Box::new(next))
    }
}

fn is_expired(status: &Status) -> bool {
    status.code == 410
}

#[cfg(test)]
mod tests;
