//! What a record says: transactions, leases, compactions, and a snapshot's parts.
//!
//! Numbers are little-endian, strings and values have their length in front. A record's
//! payload is entries one after another. Knows nothing of files and checksums.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::{
    LeaseId, Revision,
    embedded::state::{Commit, Version, Write},
};

/// One fact of the log or of a snapshot.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A transaction with the changes it made.
    Txn { revision: Revision, writes: Vec<Write> },
    /// A new lease.
    Grant { lease: LeaseId, ttl_s: i64 },
    /// A lease ended. Its keys have gone before.
    End { lease: LeaseId },
    /// History before the revision is forgotten.
    Compact { revision: Revision },
    /// A snapshot begins: its keys are as of `base`.
    Base { base: Revision, compacted: Revision },
    /// A snapshot's key.
    Key { key: Arc<str>, version: Version },
    /// A snapshot is whole: nothing follows.
    Whole,
}

const TXN: u8 = 1;
const GRANT: u8 = 2;
const END: u8 = 3;
const COMPACT: u8 = 4;
const BASE: u8 = 5;
const KEY: u8 = 6;
const WHOLE: u8 = 7;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Appends a transaction's entry.
pub(super) fn put_commit(into: &mut Vec<u8>, revision: Revision, commit: &Commit) {
    into.put_u8(TXN);
    into.put_i64_le(revision);
    into.put_u32_le(commit.changes.len() as u32);
    for change in &commit.changes {
        match &change.version.value {
            Some(value) => {
                into.put_u8(PUT);
                put_bytes(into, change.key.as_bytes());
                put_bytes(into, value);
                into.put_i64_le(change.version.lease);
            }
            None => {
                into.put_u8(DELETE);
                put_bytes(into, change.key.as_bytes());
            }
        }
    }
}

/// Appends the entry of a new lease.
pub(super) fn put_grant(into: &mut Vec<u8>, lease: LeaseId, ttl_s: i64) {
    into.put_u8(GRANT);
    into.put_i64_le(lease);
    into.put_i64_le(ttl_s);
}

/// Appends the entry of a lease's end.
pub(super) fn put_end(into: &mut Vec<u8>, lease: LeaseId) {
    into.put_u8(END);
    into.put_i64_le(lease);
}

/// Appends the entry of a compaction.
pub(super) fn put_compact(into: &mut Vec<u8>, revision: Revision) {
    into.put_u8(COMPACT);
    into.put_i64_le(revision);
}

/// Appends the first entry of a snapshot.
pub(super) fn put_base(into: &mut Vec<u8>, base: Revision, compacted: Revision) {
    into.put_u8(BASE);
    into.put_i64_le(base);
    into.put_i64_le(compacted);
}

/// Appends a snapshot's key.
pub(super) fn put_key(into: &mut Vec<u8>, key: &str, version: &Version) {
    into.put_u8(KEY);
    put_bytes(into, key.as_bytes());
    put_bytes(into, version.value.as_deref().unwrap_or_default());
    into.put_i64_le(version.created);
    into.put_i64_le(version.modified);
    into.put_i64_le(version.lease);
}

/// Appends the last entry of a snapshot.
pub(super) fn put_whole(into: &mut Vec<u8>) {
    into.put_u8(WHOLE);
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.put_u32_le(bytes.len() as u32);
    into.put_slice(bytes);
}

/// All entries of a payload; none if it is not one.
pub(super) fn read_all(payload: Bytes) -> Option<Vec<Entry>> {
    let mut from = payload;
    let mut entries = Vec::new();
    while !from.is_empty() {
        entries.push(read(&mut from)?);
    }
    Some(entries)
}

fn read(from: &mut Bytes) -> Option<Entry> {
    Some(match from.try_get_u8().ok()? {
        TXN => read_txn(from)?,
        GRANT => {
            Entry::Grant { lease: from.try_get_i64_le().ok()?, ttl_s: from.try_get_i64_le().ok()? }
        }
        END => Entry::End { lease: from.try_get_i64_le().ok()? },
        COMPACT => Entry::Compact { revision: from.try_get_i64_le().ok()? },
        BASE => Entry::Base {
            base: from.try_get_i64_le().ok()?,
            compacted: from.try_get_i64_le().ok()?,
        },
        KEY => read_key(from)?,
        WHOLE => Entry::Whole,
        _ => return None,
    })
}

fn read_txn(from: &mut Bytes) -> Option<Entry> {
    let revision = from.try_get_i64_le().ok()?;
    let count = from.try_get_u32_le().ok()?;
    let mut writes = Vec::new();
    for _ in 0..count {
        let put = match from.try_get_u8().ok()? {
            PUT => true,
            DELETE => false,
            _ => return None,
        };
        let key = read_string(from)?;
        let (value, lease) = match put {
            true => (Some(read_bytes(from)?), from.try_get_i64_le().ok()?),
            false => (None, 0),
        };
        writes.push(Write { key, value, lease });
    }
    Some(Entry::Txn { revision, writes })
}

fn read_key(from: &mut Bytes) -> Option<Entry> {
    let key = read_string(from)?;
    let value = read_bytes(from)?;
    let version = Version {
        value: Some(value),
        created: from.try_get_i64_le().ok()?,
        modified: from.try_get_i64_le().ok()?,
        lease: from.try_get_i64_le().ok()?,
    };
    Some(Entry::Key { key, version })
}

/// A value of its own: a slice would keep the whole record in memory.
fn read_bytes(from: &mut Bytes) -> Option<Bytes> {
    let length = from.try_get_u32_le().ok()? as usize;
    let bytes = from.get(..length)?;
    let value = Bytes::copy_from_slice(bytes);
    from.advance(length);
    Some(value)
}

fn read_string(from: &mut Bytes) -> Option<Arc<str>> {
    let bytes = read_bytes(from)?;
    std::str::from_utf8(&bytes).ok().map(Arc::from)
}
