//! A container instance's log: lines as the CRI has them, `TIME STREAM F|P TEXT`.
//!
//! Bounded: past [`LOG_MAX_BYTES`] the file becomes `NAME.1` (a former one is lost) and a new
//! one begins. Never blocks a container for longer than a write to the disk takes, and never
//! stops it: what cannot be written is lost.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bound of one log file; an instance has at most two.
pub const LOG_MAX_BYTES: u64 = 10 << 20;
/// A longer line is written in parts, marked `P`.
const LINE_MAX_BYTES: usize = 16 << 10;

/// Writes one instance's log.
pub(super) struct LogWriter {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl LogWriter {
    /// Opens the log at `path`, making its directory.
    pub(super) fn open(path: &Path) -> std::io::Result<LogWriter> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().append(true).create(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(LogWriter { path: path.to_owned(), file: Some(file), size })
    }

    fn write_line(&mut self, stream: &str, tag: char, text: &[u8]) {
        if self.size >= LOG_MAX_BYTES {
            self.rotate();
        }
        let Some(file) = &mut self.file else { return };
        // Nine digits always, so that lines of one instance sort as text.
        let mut line = format!("{:.9} {stream} {tag} ", jiff::Timestamp::now()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if file.write_all(&line).is_ok() {
            self.size += line.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, old).ok();
        self.file = File::options().append(true).create(true).open(&self.path).ok();
        self.size = 0;
    }
}

/// Cuts one stream of bytes into log lines.
pub(super) struct LineCutter {
    stream: &'static str,
    pending: Vec<u8>,
}

impl LineCutter {
    /// For the stream named `stdout` or `stderr`.
    pub(super) fn new(stream: &'static str) -> LineCutter {
        LineCutter { stream, pending: Vec::new() }
    }

    /// Takes more bytes; full lines go to the log.
    pub(super) fn push(&mut self, bytes: &[u8], log: &mut LogWriter) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.pending[start..].iter().position(|byte| *byte == b'\n') {
            self.write(&self.pending[start..start + length], log);
            start += length + 1;
        }
        self.pending.drain(..start);
        while self.pending.len() >= LINE_MAX_BYTES {
            log.write_line(self.stream, 'P', &self.pending[..LINE_MAX_BYTES]);
            self.pending.drain(..LINE_MAX_BYTES);
        }
    }

    fn write(&self, mut line: &[u8], log: &mut LogWriter) {
        while line.len() > LINE_MAX_BYTES {
            log.write_line(self.stream, 'P', &line[..LINE_MAX_BYTES]);
            line = &line[LINE_MAX_BYTES..];
        }
        log.write_line(self.stream, 'F', line);
    }

    /// The stream has ended: what is left goes to the log as a part of a line.
    pub(super) fn finish(&mut self, log: &mut LogWriter) {
        if !self.pending.is_empty() {
            log.write_line(self.stream, 'P', &std::mem::take(&mut self.pending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(chunks: &[&[u8]]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/0.log");
        let mut log = LogWriter::open(&path).unwrap();
        let mut cutter = LineCutter::new("stdout");
        for chunk in chunks {
            cutter.push(chunk, &mut log);
        }
        cutter.finish(&mut log);
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn bytes_become_lines() {
        assert_eq!(logged(&[b"a\nb", b"c\n", b"\n"]), ["stdout F a", "stdout F bc", "stdout F "]);
        assert_eq!(logged(&[b"no end"]), ["stdout P no end"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = vec![b'x'; LINE_MAX_BYTES + 5];
        let lines = logged(&[&long, b"\n"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("stdout P x"));
        assert_eq!(lines[1], "stdout F xxxxx");
    }

    #[test]
    fn a_full_log_begins_anew_and_keeps_one_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogWriter::open(&path).unwrap();
        log.size = LOG_MAX_BYTES;
        log.write_line("stdout", 'F', b"new");
        assert!(fs::read_to_string(&path).unwrap().ends_with("stdout F new\n"));
        assert!(dir.path().join("0.log.1").exists());
    }
}
