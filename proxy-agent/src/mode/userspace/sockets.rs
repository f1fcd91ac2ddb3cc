//! The listeners as sockets, and the tasks that serve them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::balancer::{Backends, Balancer};
use super::limits::{Budget, Limits};
use super::plan::ListenerName;
use super::{address, tcp, udp};
use crate::routes::{Family, Protocol};

/// Threads that copy, for one family.
const WORKERS: usize = 2;

/// What the mode needs of a host, so that tests can put another in its place.
pub trait Sockets: Send {
    /// An address of this node that packets can be sent to from anywhere, none of
    /// those that `is_service` says; `None`: the node has none.
    fn address(
        &self,
        family: Family,
        is_service: &dyn Fn(&IpAddr) -> bool,
    ) -> io::Result<Option<IpAddr>>;

    /// Opens a listener on any free port of the address; returns the port.
    fn open(&mut self, name: &ListenerName, at: IpAddr, backends: &Backends) -> io::Result<u16>;

    /// Has new connections go to these endpoints; old ones go on.
    fn set(&mut self, name: &ListenerName, backends: &Backends);

    /// No new connections any more; old ones go on.
    fn close(&mut self, name: &ListenerName);

    /// See [`crate::mode::Mode::refusals`].
    fn refusals(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// An open listener.
struct Open {
    balancer: Arc<Mutex<Balancer>>,
    task: JoinHandle<()>,
    udp: Option<Arc<udp::Listener>>,
}

/// The node's sockets, in the network namespace of the thread that made this.
pub struct NodeSockets {
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    budget: Arc<Budget>,
    open: BTreeMap<ListenerName, Open>,
}

impl NodeSockets {
    /// Nothing is open yet. Threads that copy are started here, in this namespace.
    pub fn new(limits: Limits) -> io::Result<NodeSockets> {
        allow_descriptors();
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("userspace-proxy")
            .enable_all()
            .build()?;
        Ok(NodeSockets {
            runtime: Some(runtime),
            budget: Arc::new(Budget::new(limits)),
            open: BTreeMap::new(),
        })
    }
}

/// Each connection takes two. Best effort: without, the limit is met earlier.
fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

impl Sockets for NodeSockets {
    fn address(
        &self,
        family: Family,
        is_service: &dyn Fn(&IpAddr) -> bool,
    ) -> io::Result<Option<IpAddr>> {
        address::of_node(family, is_service)
    }

    fn open(&mut self, name: &ListenerName, at: IpAddr, backends: &Backends) -> io::Result<u16> {
        let Some(runtime) = &self.runtime else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let _entered = runtime.enter();
        let balancer = Arc::new(Mutex::new(Balancer::new(backends.clone())));
        let budget = self.budget.clone();
        let (task, udp, port) = match name.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind((at, 0))?;
                listener.set_nonblocking(true)?;
                let port = listener.local_addr()?.port();
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let task = runtime.spawn(tcp::serve(listener, balancer.clone(), budget));
                (task, None, port)
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind((at, 0))?;
                socket.set_nonblocking(true)?;
                let port = socket.local_addr()?.port();
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                let listener = udp::Listener::new(socket, balancer.clone(), budget);
                let task = runtime.spawn(listener.clone().serve());
                (task, Some(listener), port)
            }
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        };
        let open = Open { balancer, task, udp };
        self.open.insert(name.clone(), open);
        Ok(port)
    }

    fn set(&mut self, name: &ListenerName, backends: &Backends) {
        let Some(open) = self.open.get(name) else {
            return;
        };
        open.balancer.lock().unwrap_or_else(PoisonError::into_inner).set(backends.clone());
        if let Some(udp) = &open.udp {
            udp.forget_gone();
        }
    }

    fn close(&mut self, name: &ListenerName) {
        if let Some(open) = self.open.remove(name) {
            open.task.abort();
            if let Some(udp) = open.udp {
                udp.close();
            }
        }
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.budget.refusals()
    }
}

impl Drop for NodeSockets {
    /// Not waited for: the agent's own runtime may not block here.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
