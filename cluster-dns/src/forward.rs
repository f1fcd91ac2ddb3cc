//! Asks upstream resolvers, which ones by the name. Never caches, and never asks about
//! the cluster's own names.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::sync::Semaphore;

use crate::encode::Transport;

/// Most queries that wait for an upstream at once, as kubeadm's Corefile has it
/// (`max_concurrent 1000`). At the limit a query gets SERVFAIL at once.
pub const MAX_FORWARDS_IN_FLIGHT: usize = 1000;
/// How long one upstream may take before the next one is asked.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest UDP response that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 4096;
/// Length of a DNS header in bytes.
const HEADER_BYTES: usize = 12;

/// A resolver outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Plain DNS: UDP, and TCP where the answer is truncated or the client came by TCP.
    Address(SocketAddr),
    /// Length-prefixed messages over a Unix stream socket, one query a connection.
    Unix(PathBuf),
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("a path must follow `unix:`".to_owned());
            }
            return Ok(Self::Unix(path.into()));
        }
        let with_port = text.parse();
        let without = || text.parse().map(|address| SocketAddr::new(address, 53));
        with_port
            .or_else(|_| without())
            .map(Self::Address)
            .map_err(|_| format!("`{text}` is neither IP, IP:PORT nor unix:PATH"))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A domain with resolvers of its own: `DOMAIN=UPSTREAM[,UPSTREAM…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StubDomain {
    /// The domain, fully qualified, in lower case.
    pub domain: Name,
    /// Asked in order, for the domain and all names below it.
    pub upstreams: Vec<Upstream>,
}

impl FromStr for StubDomain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (domain, upstreams) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not DOMAIN=UPSTREAM[,UPSTREAM]"))?;
        let mut domain = Name::from_ascii(domain)
            .map_err(|error| format!("`{domain}` is no domain name: {error}"))?
            .to_lowercase();
        domain.set_fqdn(true);
        if domain.is_root() {
            return Err("a stub domain must have a name: use --upstream for all others".to_owned());
        }
        let upstreams = upstreams.split(',').map(str::parse);
        Ok(Self { domain, upstreams: upstreams.collect::<Result<_, _>>()? })
    }
}

/// Which upstreams a name is asked of.
#[derive(Debug)]
pub struct Forwards {
    /// The longest domains first, so that the first that fits is the closest one.
    stubs: Vec<(Name, Forwarder)>,
    others: Forwarder,
}

impl Forwards {
    /// Names below a stub domain go to its upstreams alone, all others to `upstreams`.
    pub fn new(upstreams: Vec<Upstream>, stub_domains: Vec<StubDomain>) -> Self {
        let in_flight = Arc::new(Semaphore::new(MAX_FORWARDS_IN_FLIGHT));
        let forwarder = |upstreams| Forwarder {
            upstreams,
            in_flight: Arc::clone(&in_flight),
            timeout: UPSTREAM_TIMEOUT,
        };
        let mut stubs: Vec<_> =
            stub_domains.into_iter().map(|stub| (stub.domain, forwarder(stub.upstreams))).collect();
        stubs.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.num_labels()));
        let others = forwarder(upstreams);
        Self { stubs, others }
    }

    /// Waits this long for each upstream instead of [`UPSTREAM_TIMEOUT`].
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let stubs = self.stubs.iter_mut().map(|(_, forwarder)| forwarder);
        for forwarder in stubs.chain([&mut self.others]) {
            forwarder.timeout = timeout;
        }
        self
    }

    /// Who knows this name.
    pub fn for_name(&self, name: &Name) -> &Forwarder {
        let stub = self.stubs.iter().find(|(domain, _)| domain.zone_of(name));
        stub.map_or(&self.others, |(_, forwarder)| forwarder)
    }

    /// Whether there is anyone to ask about anything.
    pub fn is_configured(&self) -> bool {
        self.others.is_configured() || !self.stubs.is_empty()
    }
}

/// Why there is no answer from upstream.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// `--upstream` was not given.
    #[error("no upstream is configured")]
    NoUpstream,
    /// [`MAX_FORWARDS_IN_FLIGHT`] is reached.
    #[error("{MAX_FORWARDS_IN_FLIGHT} queries already wait for an upstream")]
    Busy,
    /// The query's bytes have no readable question.
    #[error("the query has no readable question")]
    Question,
    /// All were asked; the last one's failure.
    #[error("no upstream answered; the last one asked, {upstream}: {source}")]
    Unanswered {
        /// The last upstream asked.
        upstream: Upstream,
        /// How it failed.
        source: std::io::Error,
    },
}

/// Upstreams that are asked in order; with none, every query is
/// [`ForwardError::NoUpstream`].
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Vec<Upstream>,
    /// One bound for all domains.
    in_flight: Arc<Semaphore>,
    timeout: Duration,
}

impl Forwarder {
    /// Whether there is anyone to ask.
    pub fn is_configured(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// Sends an encoded query on, under an ID of its own, and returns the
    /// response under the query's.
    pub async fn ask(&self, query: &[u8], transport: Transport) -> Result<Vec<u8>, ForwardError> {
        if self.upstreams.is_empty() {
            return Err(ForwardError::NoUpstream);
        }
        let _permit = self.in_flight.try_acquire().map_err(|_| ForwardError::Busy)?;
        if question(query).is_none() {
            return Err(ForwardError::Question);
        }
        let mut outgoing = query.to_vec();
        let mut failure = None;
        for upstream in &self.upstreams {
            outgoing[..2].copy_from_slice(&rand::random::<[u8; 2]>());
            let exchange = exchange(upstream, &outgoing, transport);
            match tokio::time::timeout(self.timeout, exchange).await {
                Ok(Ok(mut response)) => {
                    response[..2].copy_from_slice(&query[..2]);
                    return Ok(response);
                }
                Ok(Err(source)) => failure = Some((upstream.clone(), source)),
                Err(_) => {
                    let late = format!("no answer within {} ms", self.timeout.as_millis());
                    let source = std::io::Error::new(std::io::ErrorKind::TimedOut, late);
                    failure = Some((upstream.clone(), source));
                }
            }
        }
        let (upstream, source) = failure.ok_or(ForwardError::NoUpstream)?;
        Err(ForwardError::Unanswered { upstream, source })
    }
}

async fn exchange(
    upstream: &Upstream,
    query: &[u8],
    transport: Transport,
) -> std::io::Result<Vec<u8>> {
    match upstream {
        Upstream::Unix(path) => stream(UnixStream::connect(path).await?, query).await,
        Upstream::Address(address) if transport == Transport::Tcp => {
            stream(TcpStream::connect(address).await?, query).await
        }
        Upstream::Address(address) => datagram(*address, query).await,
    }
}

async fn stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    query: &[u8],
) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    // One write: some servers want the length and the message in one segment.
    let framed = [&length.to_be_bytes()[..], query].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await?;
    if answers(&response, query) {
        return Ok(response);
    }
    Err(std::io::Error::other("the response answers another query"))
}

/// A socket of its own for each query, so that the source port cannot be guessed.
async fn datagram(address: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_RESPONSE_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else on this socket is late or forged: keep waiting.
        if answers(&buffer[..length], query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

/// Whether these bytes are the response to that query: same ID, same question.
fn answers(response: &[u8], query: &[u8]) -> bool {
    let (Some(asked), Some(answered)) = (question(query), question(response)) else {
        return false;
    };
    response[..2] == query[..2] && response[2] & 0x80 != 0 && asked.eq_ignore_ascii_case(answered)
}

/// The bytes of the one question: name, type and class.
fn question(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER_BYTES;
    loop {
        match usize::from(*message.get(end)?) {
            0 => break,
            // A first name cannot be compressed: nothing comes before it.
            length if length > 63 => return None,
            length => end += length + 1,
        }
    }
    message.get(HEADER_BYTES..end + 5)
}
