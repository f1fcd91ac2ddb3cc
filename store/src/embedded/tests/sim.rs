//! A disk that forgets: what was not synced may be there after a crash, or in part, or not.
//!
//! Every write is kept as pieces until its file is synced; a crash keeps any of them, in any
//! order, and cuts them at any byte; and any of the creations, renames and removals since the
//! directory was synced. It also runs full, fails a sync, and
//! loses power at a given operation.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::embedded::disk::{Disk, DiskFile};

/// So many bytes of a write reach the disk together or not at all.
const PIECE_BYTES: usize = 61;

/// A simulated disk; clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Sim(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// A name that goes, and one that comes.
type Rename = (Option<String>, Option<(String, usize)>);

#[derive(Default)]
struct Inner {
    files: Vec<Content>,
    /// The directory as the process sees it, and as it is after a crash.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes of the directory that are not synced.
    unsynced_names: Vec<Rename>,
    faults: Faults,
    syncs: usize,
    /// Callers that a sync waits for.
    waiting: usize,
    expected: usize,
}

/// What goes wrong.
#[derive(Default)]
struct Faults {
    /// Operations until the power is lost.
    fuse: Option<usize>,
    /// Bytes that fit on the disk.
    capacity: Option<usize>,
    /// The next sync of a file fails, and what it should have written is lost.
    fail_sync: bool,
}

#[derive(Default, Clone)]
struct Content {
    /// What the process reads.
    cached: Vec<u8>,
    /// What is there after a crash at least.
    synced: Vec<u8>,
    /// What may be there as well.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                to.resize(to.len().max(end), 0);
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(length) => to.resize(*length, 0),
        }
    }
}

fn apply_names((gone, come): &Rename, names: &mut BTreeMap<String, usize>) {
    if let Some(gone) = gone {
        names.remove(gone);
    }
    if let Some((name, file)) = come {
        names.insert(name.clone(), *file);
    }
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.faults.fuse {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Changes the directory, until it is synced only for the process.
    fn rename(&mut self, gone: Option<&str>, come: Option<(&str, usize)>) {
        let come = come.map(|(name, file)| (name.to_owned(), file));
        let change = (gone.map(str::to_owned), come);
        apply_names(&change, &mut self.names);
        self.unsynced_names.push(change);
    }

    fn room(&self) -> usize {
        let used: usize = self.names.values().map(|f| self.files[*f].cached.len()).sum();
        let capacity = self.faults.capacity.unwrap_or(usize::MAX);
        capacity.saturating_sub(used)
    }
}

impl Sim {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> usize {
        self.lock().syncs
    }

    /// Loses power after so many operations.
    pub fn set_fuse(&self, operations: usize) {
        self.lock().faults.fuse = Some(operations);
    }

    /// Lets so many bytes fit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.lock().faults.capacity = bytes;
    }

    /// Fails the next sync.
    pub fn fail_sync(&self) {
        self.lock().faults.fail_sync = true;
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        let inner = self.lock();
        inner.names.values().map(|f| inner.files[*f].cached.len()).sum()
    }

    /// From now on a sync waits until so many callers wait for an answer.
    pub fn expect_waiting(&self, callers: usize) {
        self.lock().expected = callers;
        self.0.changed.notify_all();
    }

    /// A caller starts (1) or stops (-1) waiting.
    pub fn wait_changed(&self, by: isize) {
        let mut inner = self.lock();
        inner.waiting = inner.waiting.checked_add_signed(by).unwrap();
        self.0.changed.notify_all();
    }

    /// A file's bytes, to look at or damage.
    pub fn with_file<T>(&self, name: &str, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut inner = self.lock();
        let file = inner.names[name];
        let content = &mut inner.files[file];
        let result = change(&mut content.cached);
        content.synced = content.cached.clone();
        content.unsynced.clear();
        result
    }

    /// The disk after a crash and a restart, one of many that are possible.
    pub fn crash(&self, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut below = |n: usize| (random.next_u32() as usize) % n;
        let inner = self.lock();
        let mut names = inner.synced_names.clone();
        for change in &inner.unsynced_names {
            if below(2) == 0 {
                apply_names(change, &mut names);
            }
        }
        let crashed = inner.files.iter().map(|content| {
            let mut left = content.synced.clone();
            let keep_all = below(3) == 0;
            for change in &content.unsynced {
                match change {
                    Change::Length(_) if keep_all || below(2) == 0 => change.apply(&mut left),
                    Change::Length(_) => {}
                    Change::Write(offset, bytes) => {
                        for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
                            let at = offset + index * PIECE_BYTES;
                            let kept = match below(4) {
                                _ if keep_all => piece.len(),
                                0 => 0,
                                1 => below(piece.len() + 1),
                                _ => piece.len(),
                            };
                            if kept > 0 {
                                Change::Write(at, piece[..kept].to_vec()).apply(&mut left);
                            }
                        }
                    }
                }
            }
            Content { cached: left.clone(), synced: left, unsynced: Vec::new() }
        });
        let files = crashed.collect();
        let after = Self::default();
        *after.lock() = Inner { files, synced_names: names.clone(), names, ..Inner::default() };
        after
    }
}

impl Disk for Sim {
    fn display(&self, name: &str) -> String {
        format!("sim/{name}")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.step()?;
        inner.files.push(Content::default());
        let file = inner.files.len() - 1;
        inner.rename(None, Some((name, file)));
        let sim = self.clone();
        Ok(Box::new(SimFile { sim, file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let found = self.lock().names.get(name).copied();
        let file = found.ok_or(io::ErrorKind::NotFound)?;
        let sim = self.clone();
        Ok(Box::new(SimFile { sim, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        let file = inner.names.get(from).copied();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        inner.rename(Some(from), Some((to, file)));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        if !inner.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.rename(Some(name), None);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        inner.synced_names = inner.names.clone();
        inner.unsynced_names.clear();
        Ok(())
    }
}

struct SimFile {
    sim: Sim,
    file: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.sim.lock().files[self.file].cached.len() as u64)
    }

    fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.sim.lock().files[self.file].cached.clone();
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.sim.lock();
        let powered = inner.step();
        let offset = offset as usize;
        let length = inner.files[self.file].cached.len();
        let over = (offset + bytes.len()).saturating_sub(length);
        let fits = bytes.len() - over.saturating_sub(inner.room());
        let write = Change::Write(offset, bytes[..fits].to_vec());
        let content = &mut inner.files[self.file];
        write.apply(&mut content.cached);
        content.unsynced.push(write);
        powered?;
        match fits == bytes.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.sim.lock();
        inner.step()?;
        let content = &mut inner.files[self.file];
        let change = Change::Length(length as usize);
        change.apply(&mut content.cached);
        content.unsynced.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.sim.lock();
        while inner.waiting < inner.expected {
            inner = self.sim.0.changed.wait(inner).unwrap();
        }
        inner.syncs += 1;
        inner.step()?;
        let failed = std::mem::take(&mut inner.faults.fail_sync);
        let content = &mut inner.files[self.file];
        content.unsynced.clear();
        if failed {
            // The pages are dropped and count as clean: no later sync writes them.
            return Err(io::Error::other("input/output error"));
        }
        content.synced = content.cached.clone();
        Ok(())
    }
}
