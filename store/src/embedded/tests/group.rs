//! Group commit, counted: how many writes share a sync.
//!
//! The disk waits in each sync until every writer is waiting, so no clock is involved.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::embedded::tests::{Sim, open, put, write};

const WRITERS: usize = 32;
const WRITES_EACH: usize = 50;

#[tokio::test]
async fn thirty_two_writers_get_eight_writes_a_sync() {
    let disk = Sim::default();
    let store = Arc::new(open(&disk).unwrap());
    let before = disk.syncs();
    disk.expect_waiting(WRITERS);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, disk) = (store.clone(), disk.clone());
        writers.spawn(async move {
            for i in 0..WRITES_EACH {
                disk.wait_changed(1);
                let key = format!("/{writer}/{i}");
                write(&store, vec![put(&key, "x")]).await.unwrap();
                disk.wait_changed(-1);
            }
            // This one is done: the others must not wait for it.
            disk.expect_waiting(0);
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let writes = WRITERS * WRITES_EACH;
    let syncs = disk.syncs() - before;
    eprintln!("{writes} writes in {syncs} syncs: {} writes a sync", writes / syncs);
    assert!(writes / syncs >= 8, "{writes} writes took {syncs} syncs");
}
