//! What the started process does: write until killed, hold the lock, fill the disk.
//!
//! Says on its standard output what it was told by the store, never before.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode, sync::Arc};

use bytes::Bytes;
use store::{Embedded, EmbeddedOptions, Error, ListOptions, Op, Store};

use crate::acks;

/// Names the role in the environment.
pub const ROLE: &str = "CORACLE_STORE_ROLE";
/// Names the store's directory in the environment.
pub const DIRECTORY: &str = "CORACLE_STORE_DIRECTORY";
/// Writers at once.
pub const WRITERS: usize = 16;

/// Plays the role this process was started for.
pub fn play(role: &OsStr) -> ExitCode {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("a directory"));
    let options = EmbeddedOptions { rewrite_log_bytes_min: 64 << 10 };
    let store = Embedded::open(&directory, options).expect("it opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match role.to_str() {
        Some("write") => runtime.block_on(write(store)),
        Some("hold") => {
            println!("holding");
            loop {
                std::thread::park();
            }
        }
        Some("fill") => runtime.block_on(fill(store, directory)),
        _ => panic!("no such role: {role:?}"),
    }
    ExitCode::SUCCESS
}

pub fn put(key: &str, value: Vec<u8>) -> Op {
    Op::Put { key: key.into(), value: Bytes::from(value), lease: 0 }
}

/// Writes with all writers, from where the last process was stopped; compacts meanwhile.
async fn write(store: Embedded) {
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let prefix = acks::prefix(writer);
            let options = ListOptions { prefix, ..Default::default() };
            let start = store.list(options).await.expect("a list").items.len();
            for number in start.. {
                let (key, value) = acks::write(writer, number);
                store.txn(vec![], vec![put(&key, value)]).await.expect("a write");
                println!("{}", acks::line(writer, number));
                if writer == 0 && number % 32 == 31 {
                    let newest = store.current_revision().await.expect("a revision");
                    store.compact(newest - 16).await.expect("a compaction");
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("it writes until it is killed");
    }
}

/// Fills the file system, makes room, and goes on.
async fn fill(store: Embedded, directory: PathBuf) {
    let mut written = 0;
    let error = loop {
        let key = format!("/{written}");
        let value = vec![7; 50_000];
        match store.txn(vec![], vec![put(&key, value)]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("filled");
    assert!(matches!(error, Error::Full(_)), "{error}");
    assert!(written > 3, "only {written} fit");
    let list = |store: &Embedded| {
        let list = futures::executor::block_on(store.list(ListOptions::default()));
        list.expect("a list").items
    };
    let before = list(&store);
    assert_eq!(before.len(), written);
    drop(store);
    // It opens on the full disk with all that was acknowledged, and goes on once there is room.
    let store = Embedded::open(&directory, EmbeddedOptions::default()).expect("it opens");
    assert!(list(&store) == before, "the restart found something else");
    let remount = std::process::Command::new("mount")
        // Not with the options that it has: among them is an owner that has no number here.
        .args(["--options-source=disable", "-o", "remount,size=2m"])
        .arg(&directory)
        .status();
    assert!(remount.expect("mount runs").success());
    let revision = store.txn(vec![], vec![put("/more", vec![7; 50_000])]).await;
    revision.expect("there is room again");
}
