//! The DNS sockets: UDP, and TCP with several queries in flight. Never decides an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

use crate::encode::Transport;
use crate::resolve::{Resolver, Step};

/// Largest UDP query that is read, in bytes; of a larger one the rest is lost
/// and the answer is FORMERR.
const MAX_QUERY_BYTES: usize = 4096;
/// Most open TCP connections; more wait in the kernel's backlog.
const MAX_TCP_CONNECTIONS: usize = 512;
/// Most queries of one TCP connection in flight; more stay unread.
const MAX_PIPELINED_QUERIES: usize = 32;
/// A TCP connection without a query for so long is closed (RFC 7766 wants seconds).
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed `accept`, so that a full file table is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often another port is tried where any free one will do.
const MAX_BIND_ATTEMPTS: usize = 16;

/// Both sockets on one address.
#[derive(Debug)]
pub struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds UDP and TCP. Port 0 takes a port that is free for both.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let tcp = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on TCP {address}"))?;
            let chosen = tcp.local_addr()?;
            match UdpSocket::bind(chosen).await {
                Ok(udp) => {
                    let udp = Arc::new(udp);
                    return Ok(Self { udp, tcp });
                }
                Err(_) if address.port() == 0 && attempt < MAX_BIND_ATTEMPTS => attempt += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot listen on UDP {chosen}"));
                }
            }
        }
    }

    /// The address both are bound to.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(self, resolver: Arc<Resolver>) {
        tokio::join!(serve_udp(self.udp, Arc::clone(&resolver)), serve_tcp(self.tcp, resolver),);
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let mut buffer = vec![0; MAX_QUERY_BYTES];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier response also shows up here.
                debug!("receiving a query failed: {error}");
                continue;
            }
        };
        match resolver.begin(&buffer[..length], Transport::Udp) {
            Step::Done(reply) => send(&socket, client, reply).await,
            // How many wait is bounded by the forwarder, which fails at once beyond that.
            Step::Wait(pending) => {
                let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&resolver));
                tokio::spawn(async move {
                    let reply = resolver.finish(pending).await;
                    send(&socket, client, reply).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, client: SocketAddr, reply: Option<Vec<u8>>) {
    if let Some(reply) = reply
        && let Err(error) = socket.send_to(&reply, client).await
    {
        debug!("responding to {client} failed: {error}");
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>) {
    let open = Arc::new(Semaphore::new(MAX_TCP_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&open).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, client)) => {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, resolver).await {
                        debug!("TCP connection of {client} ended: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!("accepting a TCP connection failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection: responses go out as they are ready, in any order (RFC 7766).
async fn converse(stream: TcpStream, resolver: Arc<Resolver>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut outgoing) = mpsc::channel::<Vec<u8>>(MAX_PIPELINED_QUERIES);
    let writing = async move {
        while let Some(reply) = outgoing.recv().await {
            let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            tokio::time::timeout(TCP_IDLE_TIMEOUT, writer.write_all(&framed)).await??;
        }
        Ok::<(), std::io::Error>(())
    };
    let reading = async move {
        let in_flight = Arc::new(Semaphore::new(MAX_PIPELINED_QUERIES));
        while let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await {
            let read = async {
                let length = reader.read_u16().await?;
                let mut bytes = vec![0; usize::from(length)];
                reader.read_exact(&mut bytes).await?;
                Ok::<_, std::io::Error>(bytes)
            };
            let Ok(Ok(bytes)) = tokio::time::timeout(TCP_IDLE_TIMEOUT, read).await else {
                break;
            };
            match resolver.begin(&bytes, Transport::Tcp) {
                Step::Done(None) => break,
                Step::Done(Some(reply)) => {
                    if replies.send(reply).await.is_err() {
                        break;
                    }
                }
                Step::Wait(pending) => {
                    let (resolver, replies) = (Arc::clone(&resolver), replies.clone());
                    tokio::spawn(async move {
                        if let Some(reply) = resolver.finish(pending).await {
                            // Closed means the client has gone.
                            let _ = replies.send(reply).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
    };
    // The writer ends when the reader and the last query in flight have.
    let ((), written) = tokio::join!(reading, writing);
    written
}
