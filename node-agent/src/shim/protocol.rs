//! The frames between agent and shim, and between a shim and the processes it launches.
//!
//! A frame is one kind byte, a big-endian `u32` length, and that many bytes. Never
//! interprets a payload: requests and states are JSON of the types below.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::spec::{ContainerSpec, ExecSpec};

/// A longer frame is refused and ends its connection.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// JSON of [`Request`], the first frame of a connection.
    Request = 1,
    /// JSON of [`Response`].
    Response = 2,
    /// Bytes for the process's standard input.
    Stdin = 3,
    /// The client has no more input.
    CloseStdin = 4,
    /// JSON of [`WindowSize`].
    Resize = 5,
    /// Bytes the process wrote.
    Stdout = 6,
    /// Bytes the process wrote to its standard error.
    Stderr = 7,
    /// JSON of [`Exit`]; the last frame.
    Exit = 8,
}

impl Kind {
    /// The kind with this number on the wire.
    pub fn from_byte(byte: u8) -> io::Result<Kind> {
        use Kind::*;
        [Request, Response, Stdin, CloseStdin, Resize, Stdout, Stderr, Exit]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("unknown frame kind {byte}"))
            })
    }
}

/// What the agent asks of a shim; one a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a container; answered by `Done` or `Error`.
    Start(Box<ContainerSpec>),
    /// Signal a container's first process; a process that has gone is no error.
    Signal {
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
    },
    /// Stream the states of all containers: at once, then after each change.
    Watch,
    /// Run a command in a container; `Done`, then streams.
    Exec(ExecSpec),
    /// Join a container's own streams; `Done`, then streams.
    Attach {
        /// The container.
        id: String,
    },
    /// Kill everything and end; answered by `Done` when all processes have gone.
    Shutdown,
}

/// What a shim answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// The request was carried out, or its streams follow.
    Done,
    /// It was not, and why.
    Error(String),
    /// The containers this shim has had, in the order they were started.
    State(Vec<InstanceState>),
}

/// One container instance as its shim knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// [`ContainerSpec::id`].
    pub id: String,
    /// [`ContainerSpec::name`].
    pub name: String,
    /// [`ContainerSpec::attempt`].
    pub attempt: u32,
    /// The first process, in the shim's pid namespace.
    pub pid: i32,
    /// Milliseconds since the epoch.
    pub started_ms: i64,
    /// `None` while it runs.
    pub exit: Option<InstanceExit>,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceExit {
    /// 128 + signal for a process that a signal ended.
    pub code: i32,
    /// The signal, or 0.
    pub signal: i32,
    /// Milliseconds since the epoch.
    pub finished_ms: i64,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, 128 + signal where a signal ended it.
    pub code: i32,
    /// Set where the command could not be started.
    pub error: String,
}

/// Writes one frame.
pub fn write_frame(out: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(5 + payload.len());
    frame.push(kind as u8);
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    out.write_all(&frame)
}

/// Reads one frame; `None` at a clean end.
pub fn read_frame(input: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0u8; 5];
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let (kind, length) = parse_head(&head)?;
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    Ok(Some((kind, payload)))
}

/// The kind and length of the frame that `head` begins.
pub fn parse_head(head: &[u8; 5]) -> io::Result<(Kind, usize)> {
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is longer than {MAX_FRAME_BYTES}"),
        ));
    }
    Ok((Kind::from_byte(head[0])?, length))
}

/// Writes a value as the JSON of one frame.
pub fn write_json<T: Serialize>(out: &mut impl Write, kind: Kind, value: &T) -> io::Result<()> {
    write_frame(out, kind, &serde_json::to_vec(value)?)
}

/// The value in a frame's payload.
pub fn parse_json<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    serde_json::from_slice(payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_a_clean_end_is_none() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Kind::Stdin, b"abc").unwrap();
        write_frame(&mut bytes, Kind::CloseStdin, b"").unwrap();
        let mut input = &bytes[..];
        assert_eq!(read_frame(&mut input).unwrap(), Some((Kind::Stdin, b"abc".to_vec())));
        assert_eq!(read_frame(&mut input).unwrap(), Some((Kind::CloseStdin, vec![])));
        assert_eq!(read_frame(&mut input).unwrap(), None);
    }

    #[test]
    fn bad_frames_are_errors() {
        for bytes in [&[9u8, 0, 0, 0, 0][..], &[3, 255, 0, 0, 0], &[3, 0, 0, 0, 2, 1], &[3, 0]] {
            assert!(read_frame(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
