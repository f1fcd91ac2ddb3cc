//! What `up` tells the user while the lab starts: each step with the time it took since
//! the start.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

/// Prefix of the last line to a waiting foreground process: all is ready.
pub const READY_MARK: &str = "\u{1}ready";
/// Prefix of the last line: what went wrong follows.
pub const FAILED_MARK: &str = "\u{1}failed ";

/// Where the steps go.
pub struct Progress {
    started: Instant,
    /// The pipe to the process that the user waits for; `None`: we are that process.
    waiting: Option<File>,
}

impl Progress {
    /// Counts from now.
    pub fn start(waiting: Option<File>) -> Self {
        Self { started: Instant::now(), waiting }
    }

    /// A step is done.
    pub fn step(&mut self, what: &str) {
        let elapsed = self.started.elapsed().as_secs_f64();
        self.line(&format!("  {elapsed:6.2} s  {what}"));
    }

    /// A line as it is.
    pub fn line(&mut self, text: &str) {
        match &mut self.waiting {
            // Who waited may have been interrupted; the lab goes on.
            Some(pipe) => drop(writeln!(pipe, "{text}")),
            None => drop(writeln!(io::stdout(), "{text}")),
        }
    }

    /// Everything is ready: the waiting process may leave.
    pub fn ready(&mut self) {
        if let Some(mut pipe) = self.waiting.take() {
            let _ = writeln!(pipe, "{READY_MARK}");
        }
    }

    /// It went wrong before all was ready. Whether somebody was told.
    pub fn failed(&mut self, error: &anyhow::Error) -> bool {
        match self.waiting.take() {
            Some(mut pipe) => {
                let text = format!("{error:#}").replace('\n', "\u{2}");
                writeln!(pipe, "{FAILED_MARK}{text}").is_ok()
            }
            None => false,
        }
    }
}

/// Undoes what [`Progress::failed`] did to the text's lines.
pub fn failure_text(line: &str) -> Option<String> {
    Some(line.strip_prefix(FAILED_MARK)?.replace('\u{2}', "\n"))
}
