//! Node ports on the host: for each, a listener on the lab's loopback address whose
//! connections go on from `outside` to a node. Never listens on another address and
//! never chooses an endpoint: the node's proxy does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use client::{Key, Update, follow};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::broker::Broker;
use super::topology::OUTSIDE;

/// Connections forwarded at a time over all ports; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 512;
/// A node that does not answer within this is passed over: under the `Local` policy a
/// node without endpoints drops.
const NODE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where node ports are offered and where they lead.
#[derive(Clone)]
pub struct NodePorts {
    /// The lab's address on the host.
    pub address: Ipv4Addr,
    /// The nodes, in the order in which they are tried.
    pub nodes: Arc<[Ipv4Addr]>,
    /// Makes the connections inside.
    pub broker: Broker,
}

impl NodePorts {
    /// Follows the Services until dropped.
    pub async fn serve(self, client: Client) -> Result<()> {
        let mut updates = follow(Api::<Service>::all(client), "");
        let mut wanted: BTreeMap<Key, BTreeSet<u16>> = BTreeMap::new();
        let mut listeners = Listeners::new(self);
        while let Some(update) = updates.next().await {
            match update {
                Update::Set(service) => {
                    wanted.insert(Key::of(&service), node_ports(&service));
                }
                Update::Gone(life) => {
                    wanted.remove(&life.key);
                }
                Update::Listing | Update::Synced => continue,
            }
            listeners.follow(wanted.values().flatten().copied().collect());
        }
        bail!("the watch of Services ended")
    }
}

/// The TCP node ports of a Service.
fn node_ports(service: &Service) -> BTreeSet<u16> {
    service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten())
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port.node_port?).ok())
        .filter(|port| *port != 0)
        .collect()
}

struct Listeners {
    ports: NodePorts,
    slots: Arc<Semaphore>,
    open: BTreeMap<u16, AbortHandle>,
}

impl Listeners {
    fn new(ports: NodePorts) -> Self {
        Self { ports, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)), open: BTreeMap::new() }
    }

    /// Opens and closes listeners so that exactly `wanted` are open.
    fn follow(&mut self, wanted: BTreeSet<u16>) {
        self.open.retain(|port, listener| {
            let keep = wanted.contains(port);
            if !keep {
                listener.abort();
            }
            keep && !listener.is_finished()
        });
        for port in wanted {
            if !self.open.contains_key(&port) {
                let task = listen(self.ports.clone(), port, self.slots.clone());
                self.open.insert(port, tokio::spawn(task).abort_handle());
            }
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for listener in self.open.values() {
            listener.abort();
        }
    }
}

async fn listen(ports: NodePorts, port: u16, slots: Arc<Semaphore>) {
    let at = SocketAddr::from((ports.address, port));
    let listener = match TcpListener::bind(at).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("coracle: node port {port} cannot be offered on the host at {at}: {error}");
            return;
        }
    };
    loop {
        let Ok(permit) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: let others end first.
            tokio::time::sleep(NODE_TIMEOUT).await;
            continue;
        };
        let ports = ports.clone();
        tokio::spawn(async move {
            forward(&ports, port, stream).await;
            drop(permit);
        });
    }
}

async fn forward(ports: &NodePorts, port: u16, mut outer: TcpStream) {
    match dial(ports, port).await {
        Ok(mut inner) => {
            let _ = outer.set_nodelay(true);
            let _ = inner.set_nodelay(true);
            // Either side's error ends both; there is nobody to tell but the peers.
            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
        }
        Err(error) => {
            tracing::debug!("node port {port}: {error:#}");
            // Closed with a reset: what a refused connection looks like one step later.
            let _ = outer.set_zero_linger();
        }
    }
}

async fn dial(ports: &NodePorts, port: u16) -> Result<TcpStream> {
    let mut last = None;
    for node in ports.nodes.iter() {
        let to = SocketAddr::from((*node, port));
        match timeout(NODE_TIMEOUT, ports.broker.connect(OUTSIDE, to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error.context(to)),
            Err(_) => last = Some(anyhow::anyhow!("{to} does not answer")),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no node")))
}
