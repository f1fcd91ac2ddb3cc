//! The engine on a disk that forgets, runs full and fails.
//!
//! What needs no such disk is tested from outside, with the contract.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Embedded, Error, Event, ListOptions, Op, Revision, Store, Txn, WatchItem,
    embedded::writer::Rewrite,
};

mod crash;
mod faults;
mod group;
mod sim;

use sim::Sim;

/// Opens the engine; snapshots are written in step, so that a run can be repeated.
fn open(disk: &Sim) -> Result<Embedded, Error> {
    let rewrite = Rewrite { log_bytes_min: 0, inline: true };
    Embedded::on(Arc::new(disk.clone()), rewrite)
}

fn put(key: &str, value: impl Into<Bytes>) -> Op {
    Op::Put { key: key.into(), value: value.into(), lease: 0 }
}

/// Writes without a condition.
async fn write(store: &Embedded, ops: Vec<Op>) -> Result<Revision, Error> {
    match store.txn(Vec::new(), ops).await? {
        Txn::Committed { revision } => Ok(revision),
        conflict => panic!("no condition, yet {conflict:?}"),
    }
}

/// Everything as of now, as text: for comparing two stores.
async fn contents(store: &Embedded) -> String {
    let list = store.list(ListOptions::default()).await.unwrap();
    format!("{list:?}")
}

/// All changes from a revision on, up to the newest.
async fn history(store: &Embedded, from: Revision) -> Vec<Event> {
    use futures::StreamExt;
    let mut watch = store.watch("", from).await.unwrap();
    let mut all = Vec::new();
    loop {
        match watch.next().await.unwrap().unwrap() {
            WatchItem::Events(events) => all.extend(events),
            WatchItem::Progress(_) => return all,
        }
    }
}
