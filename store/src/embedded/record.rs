//! The outer form of every file: a header, then records with a length and a CRC32C each.
//!
//! One record is all that was written before one sync. So a bad record with a good one after
//! it was once synced and has been damaged since, while a bad one at the end is what a crash
//! left of a write nobody was told about. Pages that reach the disk out of order cannot blur
//! this, since there is no second record until the first is synced.
//!
//! The checksum starts from the file's own random salt: a stored value that happens to hold
//! a copy of a log is never taken for one. Knows nothing of what a record says.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, Read},
};

use bytes::{Buf, BufMut, Bytes};

use crate::limits::RECORD_BYTES_MAX;

/// Length of a file's header.
pub(super) const HEADER_BYTES: usize = 32;
/// Length of what is in front of a record's payload: its length and its checksum.
pub(super) const FRAME_BYTES: usize = 8;

const MAGIC: &[u8; 8] = b"CORACLE\0";
/// The format this code reads and writes.
const FORMAT: u32 = 1;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log = 1,
    Snapshot = 2,
}

/// The head of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub sequence: u64,
    pub salt: u32,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Written by a newer version.
    Newer(u32),
    /// Not a header of this store, or damaged.
    Damaged,
}

impl Header {
    pub fn new(kind: Kind, sequence: u64) -> Self {
        let salt = RandomState::new().hash_one(sequence) as u32;
        Self { kind, sequence, salt }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut into = &mut header[..];
        into.put_slice(MAGIC);
        into.put_u32_le(FORMAT);
        into.put_u32_le(self.kind as u32);
        into.put_u64_le(self.sequence);
        into.put_u32_le(self.salt);
        let crc = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
        header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        let (body, crc) = bytes.split_at(HEADER_BYTES - 4);
        let damaged = crc32c::crc32c(body).to_le_bytes() != crc;
        if damaged || !body.starts_with(MAGIC) {
            return Err(BadHeader::Damaged);
        }
        let mut from = &body[MAGIC.len()..];
        let format = from.get_u32_le();
        if format != FORMAT {
            return Err(BadHeader::Newer(format));
        }
        let kind = match from.get_u32_le() {
            1 => Kind::Log,
            2 => Kind::Snapshot,
            _ => return Err(BadHeader::Damaged),
        };
        Ok(Self { kind, sequence: from.get_u64_le(), salt: from.get_u32_le() })
    }
}

/// Fills in the length and checksum of a record whose payload follows `FRAME_BYTES` of room.
pub(super) fn seal(record: &mut [u8], salt: u32) {
    let length = (record.len() - FRAME_BYTES) as u32;
    record[..4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(salt, length, &record[FRAME_BYTES..]);
    record[4..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(salt: u32, length: u32, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(salt, &length.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Next {
    /// A good record's payload.
    Payload(Bytes),
    /// The file ends after the last record.
    End,
    /// What follows is no whole record.
    Bad,
}

/// Reads records from where the header ended.
pub(super) struct Records<R> {
    reader: R,
    salt: u32,
    /// Where the next record starts.
    pub offset: u64,
}

impl<R: Read> Records<R> {
    pub fn new(reader: R, salt: u32) -> Self {
        let offset = HEADER_BYTES as u64;
        Self { reader, salt, offset }
    }

    pub fn next(&mut self) -> io::Result<Next> {
        let mut frame = [0; FRAME_BYTES];
        match read_up_to(&mut self.reader, &mut frame)? {
            0 => return Ok(Next::End),
            FRAME_BYTES => {}
            _ => return Ok(Next::Bad),
        }
        let Some((length, crc)) = split_frame(&frame) else {
            return Ok(Next::Bad);
        };
        let mut payload = Vec::new();
        let read = (&mut self.reader).take(u64::from(length)).read_to_end(&mut payload)?;
        if read != length as usize || checksum(self.salt, length, &payload) != crc {
            return Ok(Next::Bad);
        }
        self.offset += (FRAME_BYTES + read) as u64;
        Ok(Next::Payload(payload.into()))
    }
}

/// A record's length and checksum, if the length can be one.
fn split_frame(frame: &[u8]) -> Option<(u32, u32)> {
    let (length, crc) = frame.get(..FRAME_BYTES)?.split_at(4);
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    let possible = length > 0 && length as usize <= RECORD_BYTES_MAX;
    possible.then_some((length, crc))
}

/// Where in `bytes`, at its second byte or later, the first good record starts.
///
/// A damaged length leads nowhere, so every offset is tried.
pub(super) fn find_record(bytes: &[u8], salt: u32) -> Option<usize> {
    (1..bytes.len()).find(|start| {
        let Some((length, crc)) = split_frame(&bytes[*start..]) else {
            return false;
        };
        let payload = bytes[start + FRAME_BYTES..].get(..length as usize);
        payload.is_some_and(|payload| checksum(salt, length, payload) == crc)
    })
}

/// Reads until the buffer is full or the input ends.
pub(super) fn read_up_to(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match reader.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
