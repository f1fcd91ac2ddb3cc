//! `healthCheckNodePort`: one small HTTP server for each such Service, so that a load
//! balancer learns which nodes have endpoints. Body, headers and status are those of
//! upstream's `pkg/proxy/healthcheck`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::catalog::ServiceName;
use crate::events::{Events, Warning};
use crate::health::Health;
use crate::http_server::{Answer, accept, respond};

/// Between two tries to open a port that something else has.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How many endpoints the node has; load balancers weigh nodes by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What one Service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`
    pub port: u16,
    /// Its ready endpoints on this node.
    pub local_endpoints: usize,
}

/// The Services that changed, and what each asks for now; `None`: nothing.
pub type HealthCheckChanges = Vec<(ServiceName, Option<HealthCheck>)>;

/// The servers. As many as there are Services with such a port, which the API server's
/// range of node ports bounds.
pub struct HealthChecks {
    health: Arc<Health>,
    events: Events,
    node_name: String,
    /// Listen on the node's addresses in these networks; empty: on all.
    networks: Vec<IpNet>,
    open: HashMap<ServiceName, Server>,
}

struct Server {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl HealthChecks {
    /// None yet. `networks` are those of `nodePortAddresses`, of both families.
    pub fn new(
        node_name: &str,
        networks: Vec<IpNet>,
        health: Arc<Health>,
        events: Events,
    ) -> HealthChecks {
        HealthChecks {
            health,
            events,
            node_name: node_name.to_owned(),
            networks,
            open: HashMap::new(),
        }
    }

    /// Brings the Services named here to what they ask for. Those not named stay as they
    /// are.
    pub async fn update(&mut self, changed: HealthCheckChanges) {
        let mut closed = Vec::new();
        for (name, wanted) in &changed {
            let port = self.open.get(name).map(|server| server.port);
            if port.is_some() && port != wanted.map(|check| check.port) {
                closed.extend(self.open.remove(name));
            }
        }
        // A port may pass from one Service to another: first it must be free.
        for server in closed {
            server.task.abort();
            let _ = server.task.await;
        }
        for (name, wanted) in changed {
            let Some(wanted) = wanted else { continue };
            if let Some(server) = self.open.get(&name) {
                server.local_endpoints.store(wanted.local_endpoints, Ordering::Relaxed);
                continue;
            }
            let server = self.start(name.clone(), wanted);
            self.open.insert(name, server);
        }
    }

    fn start(&self, name: ServiceName, wanted: HealthCheck) -> Server {
        let local_endpoints = Arc::new(AtomicUsize::new(wanted.local_endpoints));
        let answer: Answer = Arc::new({
            let (name, health) = (name.clone(), self.health.clone());
            let local_endpoints = local_endpoints.clone();
            move |_| {
                let count = local_endpoints.load(Ordering::Relaxed);
                let answer = answer(&name, count, health.is_programmed());
                std::future::ready(answer).boxed()
            }
        });
        let (networks, events) = (self.networks.clone(), self.events.clone());
        let (node, port) = (self.node_name.clone(), wanted.port);
        let task = tokio::spawn(async move {
            let mut has_warned = false;
            let listeners = loop {
                match open(port, &networks).await {
                    Ok(listeners) => break listeners,
                    Err(error) if !has_warned => {
                        has_warned = true;
                        events.warn(Warning {
                            service: name.clone(),
                            reason: "FailedToStartServiceHealthcheck",
                            note: format!(
                                "node {node} cannot answer health checks of {name} on port {port}, and tries again: {error}"
                            ),
                        });
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(OPEN_AGAIN).await;
            };
            // In this task, so that the listeners are closed as soon as it has ended.
            let servers = listeners.into_iter();
            join_all(servers.map(|listener| accept(listener, answer.clone()))).await;
        });
        Server { port: wanted.port, local_endpoints, task }
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        for server in self.open.values() {
            server.task.abort();
        }
    }
}

/// All listeners of one port, or none.
async fn open(port: u16, networks: &[IpNet]) -> io::Result<Vec<TcpListener>> {
    let addresses =
        if networks.is_empty() { vec![unspecified()] } else { node_addresses(networks)? };
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "no address of the node is in nodePortAddresses",
        ));
    }
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(TcpListener::bind(SocketAddr::new(address, port)).await?);
    }
    Ok(listeners)
}

/// All addresses of both families where the kernel has both.
fn unspecified() -> IpAddr {
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

fn node_addresses(networks: &[IpNet]) -> io::Result<Vec<IpAddr>> {
    let mut addresses = crate::addresses::own()?;
    addresses.retain(|address| networks.iter().any(|network| network.contains(address)));
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn answer(name: &ServiceName, local_endpoints: usize, is_healthy: bool) -> Response<String> {
    let status = if local_endpoints != 0 && is_healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "service": {"namespace": name.namespace, "name": name.name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": is_healthy,
    });
    let mut response = respond(status, "application/json", body.to_string());
    let headers = response.headers_mut();
    headers.insert(WEIGHT, HeaderValue::from(local_endpoints));
    response
}
