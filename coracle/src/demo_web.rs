//! The demo image's web server: `/`, `/index.html`, `/hostname.html`, and 404 elsewhere.
//! Plain HTTP/1.1. Never reads a file and never keeps a request.

use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections served at a time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has not sent its request's head by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For requests in flight when the server is asked to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of `demo-web`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Port to listen on, on every address.
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// After SIGTERM, go on accepting connections for this many seconds.
    #[arg(long, default_value_t = 0)]
    pub linger_s: u64,
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
pub async fn run(options: Options) -> Result<()> {
    // Asked for first: a signal that comes early must not be missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = listen(options.port).await?;
    let page = Pages {
        hostname: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
    };
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    {
        let mut accepting = std::pin::pin!(accept(&listener, Arc::new(page), &graceful));
        tokio::select! {
            () = &mut accepting => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if options.linger_s > 0 {
            // The time's end is the expected one.
            let _ = timeout(Duration::from_secs(options.linger_s), accepting).await;
        }
    }
    drop(listener);
    // Connections that take longer are cut by the process's end.
    let _ = timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener> {
    // One socket for both families; a namespace without IPv6 has IPv4 alone.
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(both).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port))
            .await
            .with_context(|| format!("listen on port {port}")),
    }
}

async fn accept(
    listener: &TcpListener,
    pages: Arc<Pages>,
    graceful: &hyper_util::server::graceful::GracefulShutdown,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = slots.clone().acquire_owned().await {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let pages = pages.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let response = pages.answer(&request);
            // The pod's log shows whose address arrived here.
            let (method, path) = (request.method(), request.uri().path());
            let _ = writeln!(
                std::io::stdout(),
                "{} {method} {path} {}",
                client.ip().to_canonical(),
                response.status().as_u16()
            );
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client's broken connection is the client's matter.
            let _ = connection.await;
            drop(permit);
        });
    }
}

struct Pages {
    hostname: String,
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, kind, body) = match request.uri().path() {
            "/" | "/index.html" => (
                StatusCode::OK,
                "text/html; charset=utf-8",
                format!(
                    "Coracle demo web | <a href=\"hostname.html\">{}</a>\n",
                    self.hostname
                ),
            ),
            "/hostname.html" => (
                StatusCode::OK,
                "text/html; charset=utf-8",
                format!("{}\n", self.hostname),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                "404 not found\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        response
    }
}
