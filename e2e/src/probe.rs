//! HTTP requests on real sockets, from wherever the process stands: the client side of every
//! packet that a test sends.
//!
//! Never follows redirects, keeps connections or retries: one request is one connection, and a
//! failure is told as the errno that the kernel gave.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    time::Duration,
};

/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to.
    pub to: SocketAddr,
    /// Path, such as `/hostname.html`.
    pub path: String,
    /// Longest time for connecting, and for the answer, in milliseconds.
    pub timeout_ms: u64,
}

/// What came of it. The text form is one line, see `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `200 web-0`: status code and body, its white space trimmed.
    Http(u16, String),
    /// `refused`: a reset or an ICMP error answered the connect at once (`ECONNREFUSED`).
    Refused,
    /// `timeout`: nothing came in time.
    Timeout,
    /// `error …`: anything else, in the kernel's words.
    Error(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(code, body) => write!(f, "{code} {}", body.replace('\n', " ")),
            Self::Refused => f.write_str("refused"),
            Self::Timeout => f.write_str("timeout"),
            Self::Error(error) => write!(f, "error {error}"),
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (head, tail) = line.split_once(' ').unwrap_or((line, ""));
        match (head, head.parse()) {
            ("refused", _) => Ok(Self::Refused),
            ("timeout", _) => Ok(Self::Timeout),
            ("error", _) => Ok(Self::Error(tail.to_owned())),
            (_, Ok(code)) => Ok(Self::Http(code, tail.to_owned())),
            _ => Err(format!("not an answer: {line:?}")),
        }
    }
}

impl Request {
    /// Sends it and waits for the whole answer.
    pub fn send(&self) -> Answer {
        match self.try_send() {
            Ok(answer) => answer,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Answer::Refused,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Answer::Timeout,
                _ => Answer::Error(error.to_string()),
            },
        }
    }

    fn try_send(&self) -> io::Result<Answer> {
        let timeout = Duration::from_millis(self.timeout_ms);
        let mut stream = TcpStream::connect_timeout(&self.to, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        // One write: a server may answer and close after the first part of several.
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.path, self.to);
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut text)?;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("not HTTP: {text:?}")))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(Answer::Http(code, body.trim().to_owned()))
    }
}
