//! Writes a second, and how many share a sync: the engine beside a plain file.
//!
//! The baseline is measured in the same run on the same file system: append and sync, one
//! write each. Absolute figures say more about the disk than about the engine, so ratios
//! are printed too. Run with `cargo bench -p store`; `TMPDIR` chooses the file system.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use store::{Embedded, EmbeddedOptions, Op, Store};

const VALUE_BYTES: usize = 1024;
const RUN: Duration = Duration::from_secs(2);

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    println!("1 KiB writes on {}", directory.path().display());
    let baseline = plain(&directory.path().join("plain"));
    println!("{:<34} {baseline:>9.0}/s  1.0x", "plain file, one sync a write");
    for writers in [1, 8, 32, 128, 512] {
        let path = directory.path().join(format!("store-{writers}"));
        let rate = engine(&path, writers);
        let name = format!("embedded, {writers} writers");
        println!("{name:<34} {rate:>9.0}/s  {:.1}x", rate / baseline);
    }
}

/// Appends and syncs one write after another.
fn plain(path: &Path) -> f64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let (start, mut writes) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        file.write_all(&[7; VALUE_BYTES]).expect("a write");
        file.sync_data().expect("a sync");
        writes += 1;
    }
    f64::from(writes) / start.elapsed().as_secs_f64()
}

/// The same with writers that each wait for their own write.
fn engine(path: &Path, writers: usize) -> f64 {
    let store = Embedded::open(path, EmbeddedOptions::default()).expect("a store");
    let store = Arc::new(store);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let start = Instant::now();
    let writes: usize = runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for writer in 0..writers {
            let store = store.clone();
            running.spawn(async move {
                let mut writes = 0;
                while start.elapsed() < RUN {
                    let op = Op::Put {
                        key: format!("/{writer}/{}", writes % 100),
                        value: vec![7; VALUE_BYTES].into(),
                        lease: 0,
                    };
                    store.txn(vec![], vec![op]).await.expect("a write");
                    writes += 1;
                }
                writes
            });
        }
        running.join_all().await.into_iter().sum()
    });
    writes as f64 / start.elapsed().as_secs_f64()
}
