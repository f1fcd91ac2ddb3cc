//! Reads container logs: tails, times, bounds, and what is written from now on.
//!
//! Never writes. The format is the shim's: `TIME STREAM F|P TEXT`.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use proto::node::LogsRequest;

/// What of a log is wanted, with times made absolute.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    left: Option<u64>,
}

impl Selection {
    /// From a request, at the time `now`.
    pub fn new(request: &LogsRequest, now: Timestamp) -> Result<Selection, String> {
        let mut since = None;
        if !request.since_time.is_empty() {
            since =
                Some(request.since_time.parse().map_err(|error| format!("since_time: {error}"))?);
        } else if let Some(seconds) = request.since_seconds {
            since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
        }
        Ok(Selection {
            timestamps: request.timestamps,
            tail: request.tail_lines.map(|lines| lines.max(0) as usize),
            since,
            left: request.limit_bytes.map(|bytes| bytes.max(0) as u64),
        })
    }

    /// The tail has been cut off; from here on every line counts.
    fn without_tail(&mut self) {
        self.tail = None;
    }

    /// One line of the file as the client gets it; `None` where it is not wanted.
    fn render(&self, line: &str) -> Option<Vec<u8>> {
        let mut parts = line.splitn(4, ' ');
        let (time, _stream, tag, text) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        if let Some(since) = self.since
            && time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return None;
        }
        let mut out = Vec::with_capacity(line.len());
        if self.timestamps {
            out.extend_from_slice(time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(text.as_bytes());
        if tag != "P" {
            out.push(b'\n');
        }
        Some(out)
    }

    /// Cuts `bytes` to what the client still takes.
    fn bound(&mut self, bytes: &mut Vec<u8>) {
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
    }

    /// Whether the client's bound is reached.
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }
}

/// Reads one instance's log from where it last ended; its file may be rotated meanwhile.
pub struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    partial: Vec<u8>,
    selection: Selection,
}

impl Reader {
    /// For the log of one instance, from its beginning.
    pub fn new(path: PathBuf, selection: Selection) -> Reader {
        Reader { path, file: None, partial: Vec::new(), selection }
    }

    /// Whether the client's bound is reached.
    pub fn is_full(&self) -> bool {
        self.selection.is_full()
    }

    /// What has been written since the last call, at most about `chunk_bytes`; empty at the end for now.
    pub fn read(&mut self, chunk_bytes: usize) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        if self.file.is_none() {
            self.open()?;
        }
        while out.len() < chunk_bytes && !self.selection.is_full() {
            let Some(line) = self.line()? else { break };
            if let Some(mut bytes) = self.selection.render(&line) {
                self.selection.bound(&mut bytes);
                out.extend(bytes);
            }
        }
        Ok(out)
    }

    /// Opens the older file where there is one, and skips to the tail that is wanted.
    fn open(&mut self) -> std::io::Result<()> {
        let old = rotated(&self.path);
        let tail = self.selection.tail;
        self.selection.without_tail();
        let Some(tail) = tail else {
            self.file = open(&old).or_else(|| open(&self.path));
            return Ok(());
        };
        let in_new = count_lines(&self.path)?;
        let (path, skip) = if tail > in_new && old.exists() {
            (&old, count_lines(&old)?.saturating_sub(tail - in_new))
        } else {
            (&self.path, in_new.saturating_sub(tail))
        };
        self.file = open(path);
        for _ in 0..skip {
            self.line()?;
        }
        Ok(())
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let Some(file) = &mut self.file else {
                return Ok(None);
            };
            file.read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                let line = String::from_utf8_lossy(&self.partial).into_owned();
                self.partial.clear();
                return Ok(Some(line));
            }
            // At the end: of the newest file, or of one that another has followed?
            let mine = file.get_ref().metadata()?.ino();
            let Ok(newest) = std::fs::metadata(&self.path) else {
                return Ok(None);
            };
            if newest.ino() == mine {
                return Ok(None);
            }
            self.partial.clear();
            self.file = open(&self.path);
        }
    }
}

fn rotated(path: &Path) -> PathBuf {
    let mut old = path.to_owned().into_os_string();
    old.push(".1");
    old.into()
}

fn open(path: &Path) -> Option<BufReader<File>> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    Some(BufReader::new(file))
}

fn count_lines(path: &Path) -> std::io::Result<usize> {
    let Some(mut file) = open(path) else {
        return Ok(0);
    };
    let mut lines = 0;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|byte| **byte == b'\n').count();
        let length = buffer.len();
        file.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: LogsRequest, old: Option<&str>, new: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, new).unwrap();
        if let Some(old) = old {
            std::fs::write(rotated(&path), old).unwrap();
        }
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        let mut reader = Reader::new(path, Selection::new(&request, now).unwrap());
        String::from_utf8(reader.read(1 << 20).unwrap()).unwrap()
    }

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F a b\n2026-01-01T00:00:02.000000000Z stderr P c\n\
                       2026-01-01T00:00:03.000000000Z stderr F d\n2026-01-01T00:00:04.000000000Z stdout F \n";

    #[test]
    fn selections() {
        let all = LogsRequest::default;
        for (request, want) in [
            (all(), "a b\ncd\n\n"),
            (LogsRequest { tail_lines: Some(1), ..all() }, "\n"),
            (LogsRequest { tail_lines: Some(0), ..all() }, ""),
            (LogsRequest { tail_lines: Some(9), ..all() }, "a b\ncd\n\n"),
            (LogsRequest { limit_bytes: Some(5), ..all() }, "a b\nc"),
            (LogsRequest { since_seconds: Some(7), ..all() }, "d\n\n"),
            (
                LogsRequest {
                    since_time: "2026-01-01T00:00:04Z".into(),
                    timestamps: true,
                    ..all()
                },
                "2026-01-01T00:00:04.000000000Z \n",
            ),
        ] {
            assert_eq!(read(request.clone(), None, LOG), want, "{request:?}");
        }
    }

    #[test]
    fn a_tail_reaches_into_the_rotated_file() {
        let all = LogsRequest::default;
        let two = LogsRequest { tail_lines: Some(5), ..all() };
        assert_eq!(
            read(
                two,
                Some(
                    "2026-01-01T00:00:00.000000000Z stdout F x\n2026-01-01T00:00:00.000000000Z stdout F y\n"
                ),
                LOG
            ),
            "y\na b\ncd\n\n"
        );
        assert!(
            Selection::new(
                &LogsRequest { since_time: "soon".into(), ..all() },
                Timestamp::UNIX_EPOCH
            )
            .is_err()
        );
    }

    #[test]
    fn a_reader_follows_through_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "t stdout F a\nt stdout F b").unwrap();
        let mut reader = Reader::new(path.clone(), Selection::default());
        assert_eq!(reader.read(100).unwrap(), b"a\n");
        std::fs::write(&path, "t stdout F a\nt stdout F bc\n").unwrap();
        assert_eq!(reader.read(100).unwrap(), b"bc\n");
        std::fs::rename(&path, rotated(&path)).unwrap();
        std::fs::write(&path, "t stdout F d\n").unwrap();
        assert_eq!(reader.read(100).unwrap(), b"d\n");
    }
}
