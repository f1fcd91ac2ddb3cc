//! The demo image's web server: `/`, `/index.html`, `/hostname.html`, `/client.html` (the client's
//! address), and 404 elsewhere. Plain HTTP/1.1; where asked for, datagrams are answered too.
//! Never reads a file, never keeps a request, and never turns a client away that still finds it
//! after SIGTERM.

use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

/// Connections served at a time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has not sent its request's head by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients that never stop coming are left after this long: below the usual grace of 30 s.
const MAX_DRAIN: Duration = Duration::from_secs(20);
/// For requests in flight when the listener has closed.
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest datagram that is read; what it says does not matter.
const MAX_DATAGRAM_BYTES: usize = 1500;
/// How the node agent's probes call themselves, as upstream's.
const PROBE_AGENT: &str = "kube-probe/";

/// Options of `demo-web`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Port to listen on, on every address.
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// Answer each datagram to this port with `HOSTNAME CLIENT_ADDRESS`.
    #[arg(long)]
    pub udp_port: Option<u16>,
    /// After SIGTERM, go on serving until no request has come for this many milliseconds.
    #[arg(long, default_value_t = 1_000)]
    pub quiet_ms: u64,
}

/// Serves until SIGTERM or SIGINT, then until nobody asks any more.
///
/// A pod is told to end at the moment it leaves the Service's endpoints, and every node's rules
/// learn of that later: a server that closes at once refuses the clients of that moment.
pub async fn run(options: Options) -> Result<()> {
    // Asked for first: a signal that comes early must not be missed.
    let stop = client::program::stop_signal()?;
    let listener = listen(options.port).await?;
    let datagrams = match options.udp_port {
        Some(port) => Some(listen_udp(port).await?),
        None => None,
    };
    let pages = Arc::new(Pages {
        hostname: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        asked: Mutex::new(Instant::now()),
    });
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let ending = async {
        stop.await;
        pages.quiet(Duration::from_millis(options.quiet_ms)).await;
    };
    tokio::select! {
        () = accept(&listener, pages.clone(), &graceful) => {}
        () = answer_datagrams(datagrams, &pages) => {}
        () = ending => {}
    }
    drop(listener);
    // Connections that take longer are cut by the process's end.
    let _ = timeout(FLIGHT_TIMEOUT, graceful.shutdown()).await;
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

async fn listen_udp(port: u16) -> Result<UdpSocket> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match UdpSocket::bind(both).await {
        Ok(socket) => Ok(socket),
        Err(_) => UdpSocket::bind(("0.0.0.0", port))
            .await
            .with_context(|| format!("listen on UDP port {port}")),
    }
}

/// Never returns, also where there is no socket.
async fn answer_datagrams(socket: Option<UdpSocket>, pages: &Pages) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut question = [0; MAX_DATAGRAM_BYTES];
    loop {
        // An error is of one earlier answer's, which nobody took.
        let Ok((_, client)) = socket.recv_from(&mut question).await else {
            continue;
        };
        pages.touch();
        let answer = format!("{} {}\n", pages.hostname, client.ip().to_canonical());
        let _ = socket.send_to(answer.as_bytes(), client).await;
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
            pages.note(&request);
            let response = pages.answer(&request, client.ip().to_canonical());
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
    /// When a client asked last; probes are none.
    asked: Mutex<Instant>,
}

impl Pages {
    /// Waits until no client has asked for `pause`, counted from now.
    async fn quiet(&self, pause: Duration) {
        let begin = Instant::now();
        let end = begin + MAX_DRAIN;
        loop {
            let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let until = (asked.max(begin) + pause).min(end);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Notes that a client has asked.
    fn note(&self, request: &Request<Incoming>) {
        let agent = request.headers().get(header::USER_AGENT);
        if !agent.is_some_and(|agent| agent.as_bytes().starts_with(PROBE_AGENT.as_bytes())) {
            self.touch();
        }
    }

    fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn answer(&self, request: &Request<Incoming>, client: IpAddr) -> Response<Full<Bytes>> {
        let (status, kind, body) = match request.uri().path() {
            "/" | "/index.html" => (
                StatusCode::OK,
                "text/html; charset=utf-8",
                format!("Coracle demo web | <a href=\"hostname.html\">{}</a>\n", self.hostname),
            ),
            "/hostname.html" => {
                (StatusCode::OK, "text/html; charset=utf-8", format!("{}\n", self.hostname))
            }
            "/client.html" => (StatusCode::OK, "text/html; charset=utf-8", format!("{client}\n")),
            _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 not found\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        response
    }
}
