//! Watches: history, order, batches, bounds.
//!
//! Waits for events, never for a time.

use std::time::Duration;

use futures::{StreamExt, future::join_all};
use store::{Error, Event, Revision, Store, WatchItem, WatchStream, limits};

use crate::writes::{delete, put, write};

/// No test waits longer than this for one item; a store that hangs fails, not the run.
const HANGS: Duration = Duration::from_secs(60);

/// One change, short: what, its revision, and the revision before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(String, Revision, Option<Revision>);

fn seen(event: &Event) -> Seen {
    match event {
        Event::Put { kv, previous } => {
            if let Some(previous) = previous {
                assert_eq!(previous.key, kv.key);
                assert_eq!(previous.create_revision, kv.create_revision);
            }
            let value = String::from_utf8_lossy(&kv.value);
            let what = format!("{}={value}", kv.key);
            Seen(what, kv.mod_revision, previous.as_ref().map(|p| p.mod_revision))
        }
        Event::Delete { previous, revision } => {
            let what = format!("{} gone", previous.key);
            Seen(what, *revision, Some(previous.mod_revision))
        }
    }
}

async fn item(watch: &mut WatchStream) -> Result<WatchItem, Error> {
    let item = tokio::time::timeout(HANGS, watch.next()).await;
    item.expect("the watch hangs").expect("a watch never ends without an error")
}

/// The next `count` changes; checks on the way that revisions and progress do not go back
/// and that no progress was ahead of a change.
async fn take(watch: &mut WatchStream, count: usize) -> Vec<Seen> {
    let (mut all, mut newest, mut progress) = (Vec::new(), 0, 0);
    while all.len() < count {
        match item(watch).await.unwrap() {
            WatchItem::Progress(revision) => {
                assert!(revision >= progress && revision >= newest, "progress went back");
                progress = revision;
            }
            WatchItem::Events(events) => {
                assert!(!events.is_empty(), "an empty batch");
                let events: Vec<_> = events.iter().map(seen).collect();
                assert!(events[0].1 > newest, "a revision is split over batches");
                assert!(events[0].1 > progress, "a change after its progress");
                assert!(events.is_sorted_by_key(|seen| seen.1));
                newest = events[events.len() - 1].1;
                all.extend(events);
            }
        }
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

fn change(what: &str, revision: Revision, previous: Option<Revision>) -> Seen {
    Seen(what.into(), revision, previous)
}

pub async fn changes_come_with_what_was_before(store: &dyn Store) {
    let mut watch = store.watch("/", 0).await.unwrap();
    let one = write(store, vec![put("/a", "1")]).await;
    let two = write(store, vec![put("/a", "2")]).await;
    let three = write(store, vec![delete("/a")]).await;
    let four = write(store, vec![put("/a", "4")]).await;
    let expected = [
        change("/a=1", one, None),
        change("/a=2", two, Some(one)),
        change("/a gone", three, Some(two)),
        change("/a=4", four, None),
    ];
    assert_eq!(take(&mut watch, 4).await, expected);
}

pub async fn history_is_replayed_then_followed(store: &dyn Store) {
    const KEPT: Revision = 20;
    let written = |revision: Revision| {
        let previous = (revision > 2).then_some(revision - 1);
        change(&format!("/a={revision}"), revision, previous)
    };
    for revision in 2..2 + KEPT {
        write(store, vec![put("/a", &revision.to_string())]).await;
    }
    let mut newest = 1 + KEPT;
    for from in [2, 9, 2 + KEPT] {
        let mut watch = store.watch("/a", from).await.unwrap();
        let history: Vec<_> = (from..=newest).map(written).collect();
        assert_eq!(take(&mut watch, history.len()).await, history);
        newest += 1;
        write(store, vec![put("/a", &newest.to_string())]).await;
        assert_eq!(take(&mut watch, 1).await, [written(newest)]);
    }
}

pub async fn watch_from_now_leaves_out_the_past(store: &dyn Store) {
    write(store, vec![put("/a", "old")]).await;
    let mut watch = store.watch("/", 0).await.unwrap();
    let new = write(store, vec![put("/b", "new")]).await;
    assert_eq!(take(&mut watch, 1).await, [change("/b=new", new, None)]);
}

pub async fn watch_from_the_future_waits(store: &dyn Store) {
    let now = write(store, vec![put("/a", "0")]).await;
    let mut watch = store.watch("/", now + 3).await.unwrap();
    for i in 1..=3 {
        write(store, vec![put("/a", &i.to_string())]).await;
    }
    let expected = change("/a=3", now + 3, Some(now + 2));
    assert_eq!(take(&mut watch, 1).await, [expected]);
}

pub async fn only_the_prefix_comes(store: &dyn Store) {
    let mut watch = store.watch("/a/", 0).await.unwrap();
    for key in ["/a", "/a/", "/a0", "/b/", "/a/x"] {
        write(store, vec![put(key, ""), put("/other", "")]).await;
    }
    let expected = [change("/a/=", 3, None), change("/a/x=", 6, None)];
    assert_eq!(take(&mut watch, 2).await, expected);
}

pub async fn one_revision_comes_in_one_batch(store: &dyn Store) {
    // Together larger than one message of etcd, with what was before even more so.
    let large = "x".repeat(60_000);
    let ops = || (0..100).map(|i| put(&format!("/big/{i:03}"), &large)).collect();
    let mut live = store.watch("/big/", 0).await.unwrap();
    let one = write(store, ops()).await;
    let two = write(store, ops()).await;
    let replayed = store.watch("/big/", one).await.unwrap();
    for watch in [&mut live, &mut { replayed }] {
        let events = take(watch, 200).await;
        assert!(events[..100].iter().all(|seen| seen.1 == one));
        assert!(events[100..].iter().all(|seen| (seen.1, seen.2) == (two, Some(one))));
    }
}

pub async fn every_watcher_sees_the_same_history(store: &dyn Store) {
    const WRITERS: usize = 8;
    const WRITES: usize = 40;
    let mut first = store.watch("/w/", 0).await.unwrap();
    let writes = (0..WRITERS).map(|writer| async move {
        let key = format!("/w/{writer}");
        for i in 0..WRITES {
            match i % 5 {
                4 => write(store, vec![delete(&key)]).await,
                _ => write(store, vec![put(&key, &i.to_string())]).await,
            };
        }
    });
    let late = async {
        let mut all = Vec::new();
        for _ in 0..4 {
            let revision = store.current_revision().await.unwrap();
            all.push((2, store.watch("/w/", 2).await.unwrap()));
            all.push((revision + 1, store.watch("/w/", revision + 1).await.unwrap()));
            tokio::task::yield_now().await;
        }
        all
    };
    let total = WRITERS * WRITES;
    let (history, late, _) = tokio::join!(take(&mut first, total), late, join_all(writes));
    let revisions: Vec<_> = history.iter().map(|seen| seen.1).collect();
    assert!(revisions.iter().copied().eq(2..2 + total as Revision), "a gap");
    for (from, mut watch) in late {
        let start = revisions.partition_point(|revision| *revision < from);
        assert_eq!(take(&mut watch, total - start).await, history[start..]);
    }
}

/// The watch's error, from the call or the stream.
async fn error(store: &dyn Store, from: Revision) -> Error {
    let mut watch = match store.watch("/", from).await {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    loop {
        match item(&mut watch).await {
            Ok(WatchItem::Progress(_)) => {}
            Ok(WatchItem::Events(events)) => panic!("{events:?}"),
            Err(error) => return error,
        }
    }
}

pub async fn compacted_watch_is_refused(store: &dyn Store) {
    for i in 0..5 {
        write(store, vec![put("/a", &i.to_string())]).await;
    }
    store.compact(4).await.unwrap();
    let error = error(store, 3).await;
    assert!(matches!(error, Error::Compacted { oldest: 4, .. }), "{error}");
}

pub async fn watch_after_the_compaction_has_its_changes(store: &dyn Store) {
    write(store, vec![put("/a", "1"), put("/b", "1")]).await;
    let at = write(store, vec![put("/a", "2")]).await;
    let after = write(store, vec![put("/a", "3"), delete("/b")]).await;
    store.compact(at).await.unwrap();
    let mut watch = store.watch("/", at + 1).await.unwrap();
    let expected = [change("/a=3", after, Some(at)), change("/b gone", after, Some(at - 1))];
    assert_eq!(take(&mut watch, 2).await, expected);
}

pub async fn unread_watch_is_cut_off(store: &dyn Store) {
    let mut watch = store.watch("/flood/", 0).await.unwrap();
    write(store, vec![put("/flood/0", "")]).await;
    take(&mut watch, 1).await;
    if store.reports_progress().await {
        // It can only be too slow once it has caught up.
        while !matches!(item(&mut watch).await, Ok(WatchItem::Progress(_))) {}
    }
    for _ in 0..=3 * limits::WATCH_LAG_EVENTS_MAX / limits::TXN_OPS_MAX {
        let ops = (0..limits::TXN_OPS_MAX).map(|i| put(&format!("/flood/{i}"), ""));
        write(store, ops.collect()).await;
    }
    let error = loop {
        if let Err(error) = item(&mut watch).await {
            break error;
        }
    };
    assert!(matches!(error, Error::TooSlow { .. }), "{error}");
}

pub async fn progress_follows_asked_for(store: &dyn Store) {
    write(store, vec![put("/quiet/a", "")]).await;
    let mut watch = store.watch("/quiet/", 2).await.unwrap();
    take(&mut watch, 1).await;
    for i in 0..3 {
        write(store, vec![put("/elsewhere", &i.to_string())]).await;
        let newest = store.current_revision().await.unwrap();
        store.request_progress().await;
        loop {
            match item(&mut watch).await.unwrap() {
                WatchItem::Progress(revision) if revision >= newest => break,
                WatchItem::Progress(_) => {}
                events => panic!("{events:?}"),
            }
        }
    }
    // What follows still comes, and nothing beside it.
    write(store, vec![put("/quiet/b", "")]).await;
    let told = take(&mut watch, 1).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0.starts_with("/quiet/b"), "{told:?}");
}
