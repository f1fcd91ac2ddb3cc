//! Opening: the newest snapshot, then every log segment after it, into a state and a log.
//!
//! Only the end of the last segment may be torn; it is cut, and said in the log output.
//! Anything else that does not read is refused with the file, the offset and the next step.
//! Never guesses and never skips a record.

use std::{io, sync::Arc};

use crate::{
    Error, Revision,
    embedded::{
        disk::{Disk, DiskFile},
        entry::{self, Entry},
        log::{Log, log_name, snapshot_name},
        record::{self, BadHeader, HEADER_BYTES, Header, Kind, Next, Records},
        snapshot::{self, UNFINISHED},
        state::State,
    },
};

/// What was found in the directory.
pub(super) struct Recovered {
    pub state: State,
    pub log: Log,
    /// Length of the snapshot, in bytes; 0 without one.
    pub snapshot_bytes: u64,
    /// Length of all log segments, in bytes.
    pub log_bytes: u64,
}

/// The files that count, by sequence.
struct Files {
    snapshot: Option<u64>,
    logs: Vec<u64>,
}

/// Reads the directory, or makes a new store in it.
pub(super) fn recover(disk: &Arc<dyn Disk>) -> Result<Recovered, Error> {
    let mut files = find(disk)?;
    let mut state = State::new();
    let mut snapshot_bytes = 0;
    if let Some(sequence) = files.snapshot {
        snapshot_bytes = read_snapshot(disk, sequence, &mut state)?;
    }
    drop_empty_tail(disk, &mut files)?;
    let mut log_bytes = 0;
    let mut last = None;
    for (index, sequence) in files.logs.iter().enumerate() {
        let is_last = index + 1 == files.logs.len();
        let log = read_log(disk, *sequence, is_last, &mut state)?;
        log_bytes += log.offset;
        last = Some(log);
    }
    let log = match last {
        Some(log) => log,
        None => {
            Log::create(disk.clone(), 1).map_err(|e| failed(disk, "create", &log_name(1), e))?
        }
    };
    if let Some(sequence) = files.snapshot
        && let Err(error) = snapshot::remove_older(disk, sequence)
    {
        tracing::warn!(%error, "files that are no longer needed stay");
    }
    Ok(Recovered { state, log, snapshot_bytes, log_bytes })
}

fn failed(disk: &Arc<dyn Disk>, verb: &str, name: &str, error: io::Error) -> Error {
    Error::Unavailable(format!("cannot {verb} {}: {error}", disk.display(name)))
}

/// The newest snapshot and the segments it does not stand for, without a gap.
fn find(disk: &Arc<dyn Disk>) -> Result<Files, Error> {
    let names = disk.list().map_err(|e| failed(disk, "list", "", e))?;
    let mut snapshot = None;
    let mut logs = Vec::new();
    for name in names {
        match snapshot::parse_name(&name) {
            Some((Kind::Snapshot, sequence)) => snapshot = snapshot.max(Some(sequence)),
            Some((Kind::Log, sequence)) => logs.push(sequence),
            None if name.ends_with(UNFINISHED) => {
                let _ = disk.remove(&name);
            }
            None => tracing::warn!(file = disk.display(&name), "not a file of the store"),
        }
    }
    let first = snapshot.unwrap_or(1);
    logs.retain(|sequence| *sequence >= first);
    logs.sort_unstable();
    let expected = first..first + logs.len() as u64;
    if let Some(missing) = expected.clone().find(|s| !logs.contains(s)) {
        return Err(missing_log(disk, missing));
    }
    if logs.is_empty() && snapshot.is_some() {
        return Err(missing_log(disk, first));
    }
    Ok(Files { snapshot, logs })
}

fn missing_log(disk: &Arc<dyn Disk>, sequence: u64) -> Error {
    Error::Corrupt(format!(
        "the store is not whole: {} is missing; restore the directory from a backup",
        disk.display(&log_name(sequence))
    ))
}

/// Removes segments at the end that hold no record and stand for no snapshot: what is left
/// when a crash or an error stopped the change to a new segment.
fn drop_empty_tail(disk: &Arc<dyn Disk>, files: &mut Files) -> Result<(), Error> {
    while files.logs.len() > 1
        && let Some(sequence) = files.logs.last().copied()
    {
        let name = log_name(sequence);
        let file = disk.open(&name).map_err(|e| failed(disk, "open", &name, e))?;
        let length = file.len().map_err(|e| failed(disk, "read", &name, e))?;
        if length > HEADER_BYTES as u64 {
            return Ok(());
        }
        disk.remove(&name)
            .and_then(|()| disk.sync_dir())
            .map_err(|e| failed(disk, "remove", &name, e))?;
        files.logs.pop();
    }
    Ok(())
}

/// Checks a file's header; none if the file ends before it does.
fn read_header(
    disk: &Arc<dyn Disk>,
    name: &str,
    file: &dyn DiskFile,
    expected: (Kind, u64),
) -> Result<Option<Header>, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let read = file
        .reader()
        .and_then(|mut reader| record::read_up_to(&mut reader, &mut bytes))
        .map_err(|e| failed(disk, "read", name, e))?;
    if read < HEADER_BYTES {
        return Ok(None);
    }
    match Header::decode(&bytes) {
        Ok(header) if (header.kind, header.sequence) == expected => Ok(Some(header)),
        Ok(_) => Err(damaged(disk, name, 0, "it is another file of a store, renamed")),
        Err(BadHeader::Newer(format)) => Err(Error::Corrupt(format!(
            "{} has format {format}, which this version does not read; open it with the \
             version that wrote it",
            disk.display(name)
        ))),
        Err(BadHeader::Damaged) => Err(damaged(disk, name, 0, "the header does not read")),
    }
}

fn damaged(disk: &Arc<dyn Disk>, name: &str, offset: u64, what: &str) -> Error {
    Error::Corrupt(format!(
        "{} is damaged at offset {offset}: {what}; restore the directory from a backup",
        disk.display(name)
    ))
}

fn read_snapshot(disk: &Arc<dyn Disk>, sequence: u64, state: &mut State) -> Result<u64, Error> {
    let name = &snapshot_name(sequence);
    let file = disk.open(name).map_err(|e| failed(disk, "open", name, e))?;
    let header = read_header(disk, name, &*file, (Kind::Snapshot, sequence))?;
    let Some(header) = header else {
        return Err(damaged(disk, name, 0, "it ends within the header"));
    };
    let mut reader = file.reader().map_err(|e| failed(disk, "read", name, e))?;
    skip_header(&mut reader).map_err(|e| failed(disk, "read", name, e))?;
    let mut records = Records::new(reader, header.salt);
    let mut whole = false;
    loop {
        let offset = records.offset;
        let next = records.next().map_err(|e| failed(disk, "read", name, e))?;
        let entries = match next {
            Next::Payload(payload) if !whole => entry::read_all(payload),
            Next::End if whole => return Ok(offset),
            Next::End => return Err(damaged(disk, name, offset, "it ends too early")),
            Next::Payload(_) => None,
            Next::Bad => return Err(damaged(disk, name, offset, "a checksum does not match")),
        };
        for entry in entries.ok_or_else(|| unreadable(disk, name, offset))? {
            whole |= matches!(entry, Entry::Whole);
            replay(state, entry).map_err(|what| damaged(disk, name, offset, &what))?;
        }
    }
}

fn unreadable(disk: &Arc<dyn Disk>, name: &str, offset: u64) -> Error {
    damaged(disk, name, offset, "a record has unknown contents")
}

fn skip_header(reader: &mut impl io::Read) -> io::Result<()> {
    record::read_up_to(reader, &mut [0; HEADER_BYTES]).map(drop)
}

fn read_log(
    disk: &Arc<dyn Disk>,
    sequence: u64,
    is_last: bool,
    state: &mut State,
) -> Result<Log, Error> {
    let name = &log_name(sequence);
    let mut file = disk.open(name).map_err(|e| failed(disk, "open", name, e))?;
    let length = file.len().map_err(|e| failed(disk, "read", name, e))?;
    let header = match read_header(disk, name, &*file, (Kind::Log, sequence)) {
        Ok(Some(header)) => header,
        // The crash came before the new segment was in use: no record was ever in it.
        Ok(None) | Err(Error::Corrupt(_)) if is_last && length <= HEADER_BYTES as u64 => {
            return Log::create(disk.clone(), sequence)
                .map_err(|e| failed(disk, "create", name, e));
        }
        Ok(None) => return Err(damaged(disk, name, 0, "it ends within the header")),
        Err(error) => return Err(error),
    };
    let mut reader = file.reader().map_err(|e| failed(disk, "read", name, e))?;
    skip_header(&mut reader).map_err(|e| failed(disk, "read", name, e))?;
    let mut records = Records::new(reader, header.salt);
    let torn = loop {
        let offset = records.offset;
        match records.next().map_err(|e| failed(disk, "read", name, e))? {
            Next::End => break false,
            Next::Bad => break true,
            Next::Payload(payload) => {
                let entries = entry::read_all(payload);
                for entry in entries.ok_or_else(|| unreadable(disk, name, offset))? {
                    replay(state, entry).map_err(|what| damaged(disk, name, offset, &what))?;
                }
            }
        }
    };
    let end = records.offset;
    drop(records);
    if torn {
        if !is_last {
            let what = "the checksum of a record does not match, and later files follow";
            return Err(cut_here(disk, name, end, what, state.revision));
        }
        check_nothing_follows(disk, name, &*file, &header, end, state.revision)?;
        cut(&mut *file, end).map_err(|e| failed(disk, "cut", name, e))?;
        tracing::warn!(
            file = disk.display(name),
            offset = end,
            "cut an unfinished write off the end of the log"
        );
    }
    Ok(Log::new(disk.clone(), file, header, end))
}

/// A good record after a bad one means that the bad one was once synced.
fn check_nothing_follows(
    disk: &Arc<dyn Disk>,
    name: &str,
    file: &dyn DiskFile,
    header: &Header,
    bad: u64,
    revision: Revision,
) -> Result<(), Error> {
    let mut rest = Vec::new();
    file.reader()
        .and_then(|mut reader| {
            io::copy(&mut io::Read::take(&mut reader, bad), &mut io::sink())?;
            reader.read_to_end(&mut rest)
        })
        .map_err(|e| failed(disk, "read", name, e))?;
    match record::find_record(&rest, header.salt) {
        None => Ok(()),
        Some(at) => {
            let good = bad + at as u64;
            let what = format!("the checksum of a record does not match, but one at {good} does");
            Err(cut_here(disk, name, bad, &what, revision))
        }
    }
}

fn cut_here(
    disk: &Arc<dyn Disk>,
    name: &str,
    offset: u64,
    what: &str,
    revision: Revision,
) -> Error {
    Error::Corrupt(format!(
        "{} is damaged at offset {offset}: {what}; restore the directory from a backup, or \
         give up every change after revision {revision}: remove the log files after it, then \
         `truncate -s {offset}` it",
        disk.display(name)
    ))
}

fn cut(file: &mut dyn DiskFile, end: u64) -> io::Result<()> {
    file.truncate(end)?;
    file.sync()
}

/// Applies one entry; says what is wrong with it if it does not fit.
fn replay(state: &mut State, entry: Entry) -> Result<(), String> {
    match entry {
        Entry::Txn { revision, writes } => {
            let expected = state.revision + 1;
            if revision != expected {
                return Err(format!("revision {expected} should come, {revision} does"));
            }
            state
                .apply(writes)
                .map(drop)
                .ok_or_else(|| format!("revision {revision} changes nothing"))
        }
        Entry::Grant { lease, ttl_s } => {
            state.grant(lease, ttl_s);
            Ok(())
        }
        Entry::End { lease } => {
            state.leases.remove(&lease);
            Ok(())
        }
        Entry::Compact { revision } => {
            state.compact(revision);
            Ok(())
        }
        Entry::Base { base, compacted } => {
            state.revision = base;
            state.compacted = compacted;
            Ok(())
        }
        Entry::Key { key, version } => {
            state.restore(key, version);
            Ok(())
        }
        Entry::Whole => Ok(()),
    }
}
