//! Snapshots: the state written whole, so that the log before it can go.
//!
//! A snapshot has the keys as of the revision before the oldest kept one, then the kept
//! history as transactions. It is written aside, synced and renamed; only then are the files
//! it stands for removed. A crash between any two of these steps loses nothing. Never
//! touches the segment in use.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Revision,
    embedded::{
        disk::{Disk, DiskFile},
        entry,
        log::{log_name, snapshot_name},
        record::{self, FRAME_BYTES, HEADER_BYTES, Header, Kind},
        state::State,
    },
};

/// A record of a snapshot is closed once it has this many bytes.
const PART_BYTES: usize = 1 << 20;
/// Names of files that are being written end like this.
pub(super) const UNFINISHED: &str = ".tmp";

/// Writes records one after another into a new file.
struct Parts<'a> {
    file: Box<dyn DiskFile>,
    salt: u32,
    offset: u64,
    record: Vec<u8>,
    stop: &'a AtomicBool,
}

impl Parts<'_> {
    /// Closes the record if it is large enough, or if `last`.
    fn close(&mut self, last: bool) -> io::Result<()> {
        if self.record.len() < PART_BYTES && !last {
            return Ok(());
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        record::seal(&mut self.record, self.salt);
        self.file.write_at(self.offset, &self.record)?;
        self.offset += self.record.len() as u64;
        self.record.truncate(FRAME_BYTES);
        Ok(())
    }
}

/// Writes the snapshot that stands for all segments before `sequence`; its length in bytes.
pub(super) fn write(
    disk: &Arc<dyn Disk>,
    state: &State,
    sequence: u64,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let name = snapshot_name(sequence);
    let unfinished = format!("{name}{UNFINISHED}");
    let result = write_aside(disk, state, sequence, &unfinished, stop).and_then(|length| {
        disk.rename(&unfinished, &name)?;
        disk.sync_dir()?;
        Ok(length)
    });
    if result.is_err() {
        let _ = disk.remove(&unfinished);
    }
    result
}

fn write_aside(
    disk: &Arc<dyn Disk>,
    state: &State,
    sequence: u64,
    name: &str,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let header = Header::new(Kind::Snapshot, sequence);
    let mut file = disk.create(name)?;
    file.write_at(0, &header.encode())?;
    let mut parts = Parts {
        file,
        salt: header.salt,
        offset: HEADER_BYTES as u64,
        record: vec![0; FRAME_BYTES],
        stop,
    };
    let base = state.base();
    entry::put_base(&mut parts.record, base, state.compacted);
    for (id, lease) in &state.leases {
        entry::put_grant(&mut parts.record, *id, lease.ttl_s);
        parts.close(false)?;
    }
    for (key, version) in state.living_at(base) {
        entry::put_key(&mut parts.record, key, version);
        parts.close(false)?;
    }
    for (index, commit) in state.commits.iter().enumerate() {
        entry::put_commit(&mut parts.record, base + 1 + index as Revision, commit);
        parts.close(false)?;
    }
    entry::put_whole(&mut parts.record);
    parts.close(true)?;
    parts.file.sync()?;
    Ok(parts.offset)
}

/// Removes what the snapshot `sequence` stands for, and unfinished files.
pub(super) fn remove_older(disk: &Arc<dyn Disk>, sequence: u64) -> io::Result<()> {
    for name in disk.list()? {
        let old = match parse_name(&name) {
            Some((_, of)) => of < sequence,
            None => name.ends_with(UNFINISHED),
        };
        if old {
            disk.remove(&name)?;
        }
    }
    disk.sync_dir()
}

/// What a file of the directory is, by its name.
pub(super) fn parse_name(name: &str) -> Option<(Kind, u64)> {
    let (kind, number) = name.split_once('-')?;
    let sequence = u64::from_str_radix(number, 16).ok()?;
    let kind = match kind {
        "log" => Kind::Log,
        "snapshot" => Kind::Snapshot,
        _ => return None,
    };
    let written = match kind {
        Kind::Log => log_name(sequence),
        Kind::Snapshot => snapshot_name(sequence),
    };
    (written == name).then_some((kind, sequence))
}
