//! The open log segment: appends one record and syncs it, or leaves no trace of it.
//!
//! A write that fails (a full disk) is cut off again and the log stays usable. After a sync
//! that fails nothing more is written until the store is opened anew: the kernel may have
//! dropped the pages and marked them clean, so a later sync that succeeds would prove
//! nothing. The record is cut off then too, so that what a reopening reads from the page
//! cache is what the disk has. Never retries, and never reports a record written that is not.

use std::{io, sync::Arc};

use crate::{
    Error,
    embedded::{
        disk::{Disk, DiskFile},
        record::{self, FRAME_BYTES, HEADER_BYTES, Header, Kind},
    },
};

/// The name of a log segment.
pub(super) fn log_name(sequence: u64) -> String {
    format!("log-{sequence:016x}")
}

/// The name of the snapshot that stands for all segments before `sequence`.
pub(super) fn snapshot_name(sequence: u64) -> String {
    format!("snapshot-{sequence:016x}")
}

/// The segment that is written to.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    pub sequence: u64,
    salt: u32,
    /// The end of the last good record.
    pub offset: u64,
    /// Why nothing may be written any more.
    failed: Option<Error>,
}

impl Log {
    /// A new segment, durable with its header.
    pub fn create(disk: Arc<dyn Disk>, sequence: u64) -> io::Result<Self> {
        let header = Header::new(Kind::Log, sequence);
        let mut file = disk.create(&log_name(sequence))?;
        file.write_at(0, &header.encode())?;
        file.sync()?;
        disk.sync_dir()?;
        Ok(Self::new(disk, file, header, HEADER_BYTES as u64))
    }

    /// An existing segment whose last good record ends at `offset`.
    pub fn new(disk: Arc<dyn Disk>, file: Box<dyn DiskFile>, header: Header, offset: u64) -> Self {
        Self { disk, file, sequence: header.sequence, salt: header.salt, offset, failed: None }
    }

    /// Writes and syncs one record; `record` has `FRAME_BYTES` of room at its start.
    pub fn append(&mut self, record: &mut [u8]) -> Result<(), Error> {
        debug_assert!(record.len() > FRAME_BYTES);
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        record::seal(record, self.salt);
        if let Err(error) = self.file.write_at(self.offset, record) {
            return Err(self.undo(&error));
        }
        if let Err(error) = self.file.sync() {
            let _ = self.file.truncate(self.offset);
            return Err(self.fail("a write could not be made durable", &error));
        }
        self.offset += record.len() as u64;
        Ok(())
    }

    /// Goes on in a new segment. On an error this one stays in use.
    pub fn roll(&mut self) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(io::Error::other("the log has failed"));
        }
        let next = self.sequence + 1;
        match Self::create(self.disk.clone(), next) {
            Ok(log) => {
                *self = log;
                Ok(())
            }
            Err(error) => {
                let _ = self.disk.remove(&log_name(next));
                Err(error)
            }
        }
    }

    /// Cuts off what a failed write left.
    fn undo(&mut self, error: &io::Error) -> Error {
        if let Err(cut) = self.file.truncate(self.offset) {
            return self.fail("a write failed and could not be taken back", &cut);
        }
        let file = self.disk.display(&log_name(self.sequence));
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => {
                Error::Full(format!("cannot append to {file}: {error}; free some space there"))
            }
            _ => Error::Unavailable(format!("cannot append to {file}: {error}")),
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) -> Error {
        let file = self.disk.display(&log_name(self.sequence));
        let error = Error::Unavailable(format!(
            "{what} in {file}: {error}; nothing more is written until the store is opened \
             again: check the disk, then restart"
        ));
        tracing::error!("{error}");
        self.failed = Some(error.clone());
        error
    }
}
