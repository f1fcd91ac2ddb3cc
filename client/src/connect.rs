//! The client a component talks to the API server with.
//!
//! Never throttles: the API server's own limits are the limits. Never keeps a connection that
//! nobody uses for long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::dial::Dialer;
pub use crate::dial::Protocol;
use crate::fence::Fence;

/// Idle connections kept for the next burst of requests, as many as client-go keeps; each is
/// a descriptor here and one at the API server.
pub const MAX_IDLE_CONNECTIONS: usize = 25;
/// How long an idle connection is kept. Shorter than the API server's patience (120 s), so
/// that no request goes out on a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Letters of a line of PEM.
const PEM_COLUMNS: usize = 64;

/// How often a silent connection is asked for a sign of life.
const PING_PERIOD: Duration = Duration::from_secs(2);
/// Without one in this time the connection is given up, with what is under way on it. In all
/// shorter than half a leader's time to renew its Lease (10 s).
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How a program finds the API server, and as whom it comes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ApiServer {
    /// Kubeconfig file; without it KUBECONFIG or the in-cluster credentials are used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl ApiServer {
    /// The one that a kubeconfig file names.
    pub fn of_file(path: &Path) -> Self {
        Self { kubeconfig: Some(path.to_owned()) }
    }

    /// A client for it.
    ///
    /// # Errors
    /// The file cannot be read, or names credentials that cannot be loaded.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        from_config(self.config().await?, Protocol::Http2)
    }

    /// A client that sends only what `fence` lets through.
    ///
    /// # Errors
    /// As [`ApiServer::connect`].
    pub async fn connect_fenced(&self, fence: &Fence) -> anyhow::Result<Client> {
        fenced(self.config().await?, Protocol::Http2, fence.clone())
    }

    /// The certificates that the API server is trusted by, as PEM; none where they are the system's.
    ///
    /// # Errors
    /// As [`ApiServer::connect`].
    pub async fn certificate_authority(&self) -> anyhow::Result<Option<String>> {
        let certificates = self.config().await?.root_cert;
        Ok(certificates.map(|all| all.iter().map(|certificate| pem(certificate)).collect()))
    }

    /// What the kubeconfig or the environment says.
    ///
    /// # Errors
    /// As [`ApiServer::connect`].
    pub async fn config(&self) -> anyhow::Result<Config> {
        let Some(path) = &self.kubeconfig else {
            return Config::infer()
                .await
                .context("this is no pod with a service account: give a --kubeconfig");
        };
        let file = Kubeconfig::read_from(path).with_context(|| {
            format!("cannot read the kubeconfig {}: give another with --kubeconfig", path.display())
        })?;
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.with_context(
            || format!("the kubeconfig {} does not lead to an API server", path.display()),
        )
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut rest = text.as_str();
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_COLUMNS));
        lines.extend([line, "\n"]);
        rest = after;
    }
    lines + "-----END CERTIFICATE-----\n"
}

/// A client with these settings. It differs from `kube`'s own in that it goes on where one of
/// several servers behind a name does not answer any more, and in the bounds on its idle
/// connections.
///
/// # Errors
/// The credentials cannot be loaded.
pub fn from_config(config: Config, protocol: Protocol) -> anyhow::Result<Client> {
    fenced(config, protocol, Fence::open())
}

fn fenced(config: Config, protocol: Protocol, fence: Fence) -> anyhow::Result<Client> {
    // A second install is refused; the first one stays, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut connector = TimeoutConnector::new(Dialer::new(&config, protocol, fence.clone())?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let pool: Pool<_> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .http2_keep_alive_interval(PING_PERIOD)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let retry = RetryLayer::new(RetryPolicy::server_retry());
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(retry))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service_fn(move |request| send(pool.clone(), fence.clone(), request))
        .boxed();
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

type Pool<C> = legacy::Client<C, Body>;

/// Sends a request if the fence lets it in, and keeps its place there until the answer comes.
async fn send<C>(
    pool: Pool<C>,
    fence: Fence,
    request: Request<Body>,
) -> Result<Response<Incoming>, BoxError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let method = request.method().clone();
    let _under_way = fence.enter(&method).await?;
    Ok(pool.request(request).await?)
}
