//! Sockets, TLS and HTTP: hands each request to the router with the identity of its
//! connection's certificate.
//!
//! Never looks into a request.

use std::{
    net::SocketAddr,
    os::fd::{FromRawFd, RawFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use tracing::{debug, warn};

use crate::{
    layers::ApiService,
    options::Options,
    peer::{AskOnly, judged},
};

/// Connections served at once; more wait in the listen queue.
pub const MAX_CONNECTIONS: usize = 16_384;

/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests under way at once on one HTTP/2 connection, as upstream.
const MAX_HTTP2_STREAMS: u32 = 250;

/// What a client without TLS is told, as upstream does.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// How long open requests may go on after the server was told to stop.
const DRAIN: Duration = Duration::from_millis(500);

/// How connections are secured.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// Judges clients' certificates; without one they are not asked for any.
    judge: Option<Arc<dyn ClientCertVerifier>>,
}

/// Reads the certificates and makes the TLS configuration.
pub fn tls_config(options: &Options) -> anyhow::Result<Tls> {
    let certificates = read_certificates(&options.tls_cert_file, "--tls-cert-file")?;
    let key_file = &options.tls_private_key_file;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .with_context(|| format!("reading --tls-private-key-file {}", key_file.display()))?;
    let builder = ServerConfig::builder();
    let mut judge = None;
    let builder = match &options.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(file, "--client-ca-file")? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .allow_unauthenticated()
                .build()
                .with_context(|| format!("in --client-ca-file {}", file.display()))?;
            judge = Some(verifier.clone());
            builder.with_client_cert_verifier(Arc::new(AskOnly(verifier)))
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .context("the server certificate and its key do not fit together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    Ok(Tls { config, judge })
}

fn read_certificates(path: &Path, flag: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
        certificates
    };
    let certificates = read().with_context(|| format!("reading {flag} {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{flag} {} holds no certificate", path.display());
    Ok(certificates)
}

/// Binds `--bind-address`:`--secure-port`; the error names both.
pub async fn bind(options: &Options) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; is the port in use? choose another with --secure-port")
    })
}

/// Takes over an inherited listening socket.
pub fn inherit(fd: RawFd) -> anyhow::Result<TcpListener> {
    // SAFETY: the caller says with `--listen-fd` that the descriptor is a listening socket
    // that was opened for this process; nothing else in it uses the number.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(fd) };
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .with_context(|| format!("--listen-fd {fd} is no listening TCP socket"))
}

/// Accepts connections until `stop`; then lets open requests end, for a moment.
pub async fn serve(
    listeners: Vec<TcpListener>,
    tls: Tls,
    service: ApiService,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            tls.clone(),
            service.clone(),
            stop.clone(),
            connections.clone(),
            permits.clone(),
        ));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        debug!("{} connections were still open", connections.len());
    }
}

async fn accept(
    listener: TcpListener,
    tls: Tls,
    service: ApiService,
    stop: CancellationToken,
    connections: TaskTracker,
    permits: Arc<Semaphore>,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: a pause lets others close.
                warn!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, service, stop) = (tls.clone(), service.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, tls, service, stop).await {
                debug!("connection from {peer}: {error:#}");
            }
            drop(permit);
        });
    }
}

/// Whether a client speaks HTTP without TLS: a handshake does not begin with a letter.
async fn is_plain_http(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_uppercase())
}

async fn connection(
    mut stream: TcpStream,
    tls: Tls,
    service: ApiService,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let Tls { config, judge } = tls;
    let secured = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        if !is_plain_http(&stream).await? {
            return Ok(Some(TlsAcceptor::from(config).accept(stream).await?));
        }
        stream.write_all(PLAIN_HTTP).await?;
        anyhow::Ok(None)
    });
    let Some(secured) = secured.await?? else {
        return Ok(());
    };
    let peer = judged(secured.get_ref().1, judge.as_ref());
    let handler = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let mut service = service.clone();
        async move { service.call(request.map(Body::new)).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT * 12);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    let io = TokioIo::new(secured);
    let connection = builder.serve_connection_with_upgrades(io, handler);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|e| anyhow::anyhow!(e)),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|e| anyhow::anyhow!(e))
}
