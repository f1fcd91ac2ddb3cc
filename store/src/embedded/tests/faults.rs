//! A full disk, a failed sync, damaged files.
//!
//! Damage is refused with its place; only the end of the log is ever cut.

use crate::{
    Error, Store,
    embedded::{
        log::{log_name, snapshot_name},
        record::{FRAME_BYTES, HEADER_BYTES},
        tests::{Sim, contents, history, open, put, write},
    },
};

#[tokio::test]
async fn full_disk_writes_nothing_and_recovers() {
    let disk = Sim::default();
    let store = open(&disk).unwrap();
    write(&store, vec![put("/a", "before")]).await.unwrap();
    let before = contents(&store).await;
    disk.set_capacity(Some(disk.used() + 500));
    for _ in 0..3 {
        let ops = vec![put("/small", "x"), put("/large", vec![7; 1000])];
        let error = write(&store, ops).await.unwrap_err();
        assert!(matches!(error, Error::Full(_)), "{error}");
        assert_eq!(contents(&store).await, before);
    }
    // What fits is still written, and is all that a restart finds.
    assert_eq!(write(&store, vec![put("/b", "x")]).await.unwrap(), 3);
    let after = contents(&store).await;
    for seed in 0..50 {
        let restarted = open(&disk.crash(seed)).unwrap();
        assert_eq!(contents(&restarted).await, after, "seed {seed}");
    }
    disk.set_capacity(None);
    let revision = write(&store, vec![put("/large", vec![7; 1000])]).await;
    assert_eq!(revision.unwrap(), 4);
}

#[tokio::test]
async fn compaction_on_a_full_disk_keeps_the_old_files() {
    let disk = Sim::default();
    let store = open(&disk).unwrap();
    for i in 0..20 {
        write(&store, vec![put("/a", vec![i; 100])]).await.unwrap();
    }
    disk.set_capacity(Some(disk.used() + 60));
    store.compact(20).await.unwrap();
    let before = contents(&store).await;
    drop(store);
    let store = open(&disk.crash(1)).unwrap();
    assert_eq!(contents(&store).await, before);
    assert!(matches!(store.get("/a", 19).await, Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn nothing_is_written_after_a_failed_sync() {
    let disk = Sim::default();
    let store = open(&disk).unwrap();
    write(&store, vec![put("/a", "kept")]).await.unwrap();
    let before = contents(&store).await;
    disk.fail_sync();
    for _ in 0..3 {
        let error = write(&store, vec![put("/b", "lost")]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        assert_eq!(contents(&store).await, before);
    }
    drop(store);
    // Opened again on the same page cache, which still had the lost write's pages.
    let store = open(&disk).unwrap();
    assert_eq!(contents(&store).await, before);
    write(&store, vec![put("/c", "after")]).await.unwrap();
    let after = contents(&store).await;
    drop(store);
    for seed in 0..50 {
        let store = open(&disk.crash(seed)).unwrap();
        assert_eq!(contents(&store).await, after, "seed {seed}");
    }
}

/// A store with four records of one transaction each; where each record starts, and the end.
async fn four_records(disk: &Sim) -> Vec<usize> {
    let store = open(disk).unwrap();
    let mut starts = vec![HEADER_BYTES];
    for i in 0..4 {
        write(&store, vec![put("/a", vec![i; 20])]).await.unwrap();
        starts.push(disk.used());
    }
    starts
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_with_its_offset() {
    let whole = Sim::default();
    let starts = four_records(&whole).await;
    let name = log_name(1);
    for offset in starts[0]..starts[3] {
        let disk = whole.crash(0);
        disk.with_file(&name, |bytes| bytes[offset] ^= 0x10);
        let start = starts.iter().rfind(|start| **start <= offset).unwrap();
        let Err(Error::Corrupt(message)) = open(&disk) else {
            panic!("damage at {offset} was not seen");
        };
        assert!(message.contains(&format!("sim/{name}")), "{message}");
        assert!(message.contains(&format!("at offset {start}:")), "{message}");
        assert!(message.contains("restore"), "{message}");
    }
}

#[tokio::test]
async fn header_damage_is_refused() {
    let whole = Sim::default();
    four_records(&whole).await;
    for offset in 0..HEADER_BYTES {
        let disk = whole.crash(0);
        disk.with_file(&log_name(1), |bytes| bytes[offset] ^= 0x10);
        assert!(matches!(open(&disk), Err(Error::Corrupt(_))), "at {offset}");
    }
}

#[tokio::test]
async fn log_cut_anywhere_opens_with_what_is_whole() {
    let whole = Sim::default();
    let starts = four_records(&whole).await;
    for end in 0..*starts.last().unwrap() {
        let disk = whole.crash(0);
        disk.with_file(&log_name(1), |bytes| bytes.truncate(end));
        let store = open(&disk).unwrap();
        let records = starts[1..].iter().filter(|start| **start <= end).count();
        assert_eq!(store.state().revision, 1 + records as i64, "cut at {end}");
        assert_eq!(history(&store, 1).await.len(), records);
        write(&store, vec![put("/b", "more")]).await.unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        assert_eq!(store.state().revision, 2 + records as i64);
    }
}

#[tokio::test]
async fn value_that_holds_a_log_is_not_taken_for_one() {
    let disk = Sim::default();
    let starts = four_records(&disk).await;
    let log = disk.with_file(&log_name(1), |bytes| bytes.clone());
    let store = open(&disk).unwrap();
    write(&store, vec![put("/log", log[starts[0]..].to_vec())]).await.unwrap();
    drop(store);
    // A copy of another log: its records have another salt.
    let other = Sim::default();
    let store = open(&other).unwrap();
    write(&store, vec![put("/log", log)]).await.unwrap();
    drop(store);
    other.with_file(&log_name(1), |bytes| bytes.truncate(bytes.len() - 1));
    let store = open(&other).unwrap();
    assert_eq!(store.state().revision, 1);
}

#[tokio::test]
async fn damaged_snapshot_and_missing_log_are_refused() {
    let whole = Sim::default();
    let store = open(&whole).unwrap();
    for i in 0..4 {
        write(&store, vec![put("/a", vec![i; 20])]).await.unwrap();
    }
    store.compact(4).await.unwrap();
    drop(store);
    let snapshot = snapshot_name(2);
    let length = whole.with_file(&snapshot, |bytes| bytes.len());
    for offset in 0..length {
        let disk = whole.crash(0);
        disk.with_file(&snapshot, |bytes| bytes[offset] ^= 0x10);
        assert!(matches!(open(&disk), Err(Error::Corrupt(_))), "at {offset}");
        let disk = whole.crash(0);
        disk.with_file(&snapshot, |bytes| bytes.truncate(offset));
        assert!(matches!(open(&disk), Err(Error::Corrupt(_))), "cut at {offset}");
    }
    let disk = whole.crash(0);
    crate::embedded::disk::Disk::remove(&disk, &log_name(2)).unwrap();
    let Err(Error::Corrupt(message)) = open(&disk) else {
        panic!("a missing log was not seen");
    };
    assert!(message.contains("is missing"), "{message}");
}

#[tokio::test]
async fn newer_format_is_refused_by_name() {
    let disk = Sim::default();
    four_records(&disk).await;
    disk.with_file(&log_name(1), |bytes| {
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    });
    let Err(Error::Corrupt(message)) = open(&disk) else {
        panic!("a newer format was read");
    };
    assert!(message.contains("format 9"), "{message}");
    const { assert!(FRAME_BYTES == 8) };
}

#[tokio::test]
async fn leases_have_their_whole_time_again_after_a_restart() {
    let disk = Sim::default();
    let store = open(&disk).unwrap();
    let lease = store.grant_lease(1000).await.unwrap();
    let op = crate::Op::Put { key: "/l".into(), value: "x".into(), lease };
    write(&store, vec![op.clone()]).await.unwrap();
    store.compact(2).await.unwrap();
    drop(store);
    let store = open(&disk.crash(3)).unwrap();
    let kept = store.state().leases.get(&lease).cloned().unwrap();
    assert_eq!((kept.ttl_s, kept.keys.len()), (1000, 1));
    // It can still be used.
    write(&store, vec![op]).await.unwrap();
}
