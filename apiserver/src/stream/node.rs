//! The way to the node agents: gRPC over mutual TLS.
//!
//! Never trusts an address: the node's certificate must carry the node's name.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use api::{kind::Role, status::ApiError};
use proto::node::node_client;
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{failure::Failure, options::Options, resource::Table};

/// How long connecting to a node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens channels to node agents.
#[derive(Debug, Clone, Default)]
pub struct NodeClient {
    tls: Option<ClientTlsConfig>,
}

impl NodeClient {
    /// Reads the certificates that the options name; without them no node can be reached.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path, flag: &str| {
            std::fs::read(path).with_context(|| format!("reading {flag} {}", path.display()))
        };
        let mut tls = ClientTlsConfig::new();
        let (Some(certificate), Some(key)) =
            (&options.kubelet_client_certificate, &options.kubelet_client_key)
        else {
            return Ok(Self::default());
        };
        let certificate = read(certificate, "--kubelet-client-certificate")?;
        tls = tls.identity(Identity::from_pem(certificate, read(key, "--kubelet-client-key")?));
        if let Some(authority) = &options.kubelet_certificate_authority {
            let authority = read(authority, "--kubelet-certificate-authority")?;
            tls = tls.ca_certificate(Certificate::from_pem(authority));
        }
        Ok(Self { tls: Some(tls) })
    }

    /// Connects to the agent of a node.
    pub async fn connect(
        &self,
        table: &Table,
        node: &str,
    ) -> Result<node_client::NodeClient<Channel>, Failure> {
        let tls = self.tls.clone().ok_or_else(|| {
            ApiError::internal(
                "no way to the node agents: start the server with --kubelet-client-certificate and --kubelet-client-key",
            )
        })?;
        let address = address_of(table, node)?;
        let unreachable = |error: &dyn std::fmt::Display| {
            ApiError::internal(format!("error dialing node {node} at {address}: {error}"))
        };
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls.domain_name(node)))
            .map_err(|error| unreachable(&error))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| {
            // The outer error only says "transport error": the cause is what helps.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            unreachable(&cause.unwrap_or_else(|| error.to_string()))
        })?;
        Ok(node_client::NodeClient::new(channel))
    }
}

/// `IP:PORT` of a node's agent.
fn address_of(table: &Table, name: &str) -> Result<SocketAddr, Failure> {
    let nodes = table.with_role(Role::Agents).ok_or_else(ApiError::no_such_path)?;
    let state = nodes.cache.load();
    let entry = state.items.get(name).ok_or_else(|| nodes.not_found(name))?;
    let node = nodes.kind.decode(entry.json.value()).map_err(ApiError::internal)?;
    nodes.kind.agent(&*node).map_err(|why| ApiError::internal(why).into())
}

/// A node agent's refusal as the API's error.
pub fn failure_of(status: &Status) -> Failure {
    let message = status.message().to_owned();
    let error = match status.code() {
        Code::NotFound => ApiError { code: 404, reason: "NotFound", message, details: None },
        Code::InvalidArgument | Code::FailedPrecondition => ApiError::bad_request(message),
        Code::Unavailable => ApiError::unavailable(message),
        _ => ApiError::internal(message),
    };
    error.into()
}
