//! The lines of an answer that has no end: a watch, or a log that is followed.

use http_body_util::BodyExt;
use kube::client::Body;

use crate::error::{Error, Result};

/// Longest event that is read, in bytes: an object of the largest size with room to spare.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// The lines of a body that has no end.
pub struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads this body.
    pub fn new(body: Body) -> Self {
        Self { body, buffer: Vec::new() }
    }

    /// The next line without its end; `None` when the server has closed.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_BYTES {
                return Err(Error::message("the server sent an event without an end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::message(format!("the watch broke: {error}")));
                }
            }
        }
    }
}
