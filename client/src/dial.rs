//! Connections to an API server, of which there may be several behind one name: each of its
//! addresses is tried, and the first that answers as a server is taken.
//!
//! Never takes a connection for an answer: a process that is stopped still has its kernel
//! accept connections, so an address counts only when the TLS handshake is done.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use kube::config::Config;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{BoxError, Service};

use crate::fence::{Fence, Fenced};

/// Addresses of one name that are tried; further ones are left.
pub const MAX_ADDRESSES: usize = 16;
/// How long one address has for TCP and TLS.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an address is waited for before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(500);

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 where the server has it: many requests share a connection, and its pings find
    /// a server that has stopped answering.
    Http2,
    /// HTTP/1.1, whose connections can become WebSockets.
    Http1,
}

/// Makes connections.
#[derive(Clone)]
pub struct Dialer {
    tls: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    fence: Fence,
    /// The address that answered last is tried first.
    answered: Arc<Mutex<Option<SocketAddr>>>,
}

impl Dialer {
    /// A dialer with `config`'s credentials.
    ///
    /// # Errors
    /// The credentials cannot be loaded.
    pub fn new(config: &Config, protocol: Protocol, fence: Fence) -> anyhow::Result<Self> {
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = match protocol {
            Protocol::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
        };
        let server_name = config.tls_server_name.clone().map(ServerName::try_from);
        Ok(Self {
            tls: Arc::new(tls),
            server_name: server_name.transpose().context("tls-server-name")?,
            fence,
            answered: Arc::default(),
        })
    }

    async fn dial(self, uri: Uri) -> anyhow::Result<Link> {
        let encrypted = uri.scheme_str() != Some("http");
        let host = uri.host().context("the API server's URL names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let name = match &self.server_name {
            _ if !encrypted => None,
            Some(name) => Some(name.clone()),
            None => Some(ServerName::try_from(host.to_owned()).context("the API server's name")?),
        };
        let found = timeout(PATIENCE, lookup_host((host, port)));
        let found = found.await.with_context(|| format!("no answer about {host}"))?;
        let found = found.with_context(|| format!("cannot resolve {host}"))?;
        let last = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = order(found, last);
        let (address, link) =
            first_of(addresses, |address| timeout_of(address, self.try_one(address, name.clone())))
                .await?;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
        Ok(link)
    }

    async fn try_one(
        &self,
        address: SocketAddr,
        name: Option<ServerName<'static>>,
    ) -> io::Result<Link> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = Fenced::new(stream, self.fence.clone());
        let Some(name) = name else {
            return Ok(Link::Plain(TokioIo::new(stream)));
        };
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await?;
        Ok(Link::Encrypted(TokioIo::new(Box::new(stream))))
    }
}

impl Service<Uri> for Dialer {
    type Response = Link;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Link, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialled = self.clone().dial(uri);
        Box::pin(async move { dialled.await.map_err(|error| format!("{error:#}").into()) })
    }
}

/// The addresses to try, the one that answered last first.
fn order(found: impl Iterator<Item = SocketAddr>, last: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    addresses.sort_by_key(|address| Some(*address) != last);
    addresses
}

async fn timeout_of<T>(
    address: SocketAddr,
    trying: impl Future<Output = io::Result<T>>,
) -> anyhow::Result<(SocketAddr, T)> {
    let answer = timeout(PATIENCE, trying).await;
    let answer = answer.map_err(|_| anyhow!("{address}: no answer within {PATIENCE:?}"))?;
    Ok((address, answer.with_context(|| address.to_string())?))
}

/// Tries the addresses in their order, the next one as soon as one has failed or has not
/// answered for [`HEAD_START`]; returns the first success.
async fn first_of<T, F>(
    addresses: Vec<SocketAddr>,
    try_one: impl Fn(SocketAddr) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut waiting = addresses.into_iter().peekable();
    let mut trying = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        match waiting.next() {
            Some(address) => trying.push(try_one(address)),
            None if trying.is_empty() => break,
            None => {}
        }
        tokio::select! {
            Some(outcome) = trying.next() => match outcome {
                Ok(link) => return Ok(link),
                Err(error) => failures.push(format!("{error:#}")),
            },
            () = sleep(HEAD_START), if waiting.peek().is_some() => {}
        }
    }
    match failures.is_empty() {
        true => Err(anyhow!("the API server's name has no address")),
        false => Err(anyhow!("{}", failures.join("; "))),
    }
}

/// A connection.
pub enum Link {
    /// As the kubeconfig's `http:` asks for.
    Plain(TokioIo<Fenced<TcpStream>>),
    /// With TLS.
    Encrypted(TokioIo<Box<TlsStream<Fenced<TcpStream>>>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        match self {
            Self::Encrypted(stream)
                if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") =>
            {
                Connected::new().negotiated_h2()
            }
            _ => Connected::new(),
        }
    }
}

impl Read for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// What an address does.
    #[derive(Clone, Copy)]
    enum Does {
        Refuses,
        Nothing,
        AnswersAfterMs(u64),
    }
    use Does::{AnswersAfterMs, Nothing, Refuses};

    /// Which of the addresses is taken (their number is their port), and after how many ms.
    async fn check(addresses: &[Does], expected: &str) {
        let started = Instant::now();
        let numbered =
            (0..addresses.len()).map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16)));
        let taken = first_of(numbered.collect(), |address| {
            let does = addresses[usize::from(address.port())];
            timeout_of(address, async move {
                match does {
                    Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                    Nothing => std::future::pending().await,
                    AnswersAfterMs(ms) => sleep(Duration::from_millis(ms)).await,
                }
                Ok(())
            })
        })
        .await;
        let outcome = match taken {
            Ok((address, ())) => format!("{} after", address.port()),
            Err(error) => format!("{error:#} after"),
        };
        let outcome = format!("{outcome} {}", started.elapsed().as_millis());
        assert_eq!(outcome, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_answers_is_taken() {
        check(&[AnswersAfterMs(5), AnswersAfterMs(1)], "0 after 5").await;
        check(&[Refuses, AnswersAfterMs(5)], "1 after 5").await;
        check(&[Nothing, AnswersAfterMs(5)], "1 after 505").await;
        check(&[Nothing, Nothing, Refuses, AnswersAfterMs(1)], "3 after 1001").await;
        check(&[AnswersAfterMs(700), AnswersAfterMs(400)], "0 after 700").await;
        check(&[], "the API server's name has no address after 0").await;
        check(&[Refuses], "127.0.0.1:0: connection refused after 0").await;
        check(&[Nothing], "127.0.0.1:0: no answer within 5s after 5000").await;
    }

    #[test]
    fn the_address_that_answered_last_is_tried_first() {
        let address = |last: u8| SocketAddr::from(([127, 0, 0, last], 6443));
        let all = [address(1), address(2), address(3)];
        assert_eq!(order(all.into_iter(), None), all);
        let reordered = [address(3), address(1), address(2)];
        assert_eq!(order(all.into_iter(), Some(address(3))), reordered);
        assert_eq!(order(all.into_iter(), Some(address(9))), all);
    }
}
