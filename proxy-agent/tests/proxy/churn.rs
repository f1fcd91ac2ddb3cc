//! Endpoints that come and go a thousand times a second while clients connect: no
//! connection fails, and at the end the kernel has what the catalog says.
//!
//! An endpoint listens before it is added, and goes on until the agent has swept what led
//! to it. `CORACLE_CHURN_SECONDS` makes it longer than ten seconds.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxy_agent::catalog::{Catalog, Change, ServiceName};
use proxy_agent::dnat::Table;
use proxy_agent::mode;
use proxy_agent::mode::nftables::TABLE;
use proxy_agent::nft::kernel::Kernel;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;

use super::histories::normal;
use super::kill::Choices;
use super::memory_kernel::MemoryKernel;
use super::network::{self, Network};
use super::{objects, table};

const CHANGES_PER_SECOND: usize = 1_200;
/// As the agent has it.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// Long enough for any busy machine: what is lost is refused, and seen at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two connections of one client, so that its ports last for a minute.
const PAUSE: Duration = Duration::from_micros(1_500);
const SERVICES: usize = 8;
const ENDPOINTS: usize = 12;
const PODS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 244, 1, 11)),
    IpAddr::V4(Ipv4Addr::new(10, 244, 1, 12)),
    IpAddr::V4(Ipv4Addr::new(10, 244, 2, 11)),
];

/// One endpoint of one Service; all have addresses of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: usize,
    endpoint: usize,
}

impl Place {
    fn pod(self) -> IpAddr {
        PODS[self.endpoint % PODS.len()]
    }

    fn address(self) -> SocketAddr {
        let port = 21_000 + self.service * ENDPOINTS + self.endpoint;
        SocketAddr::new(self.pod(), port as u16)
    }

    fn added(self) -> Change {
        let (service, address) = (self.service, self.address());
        objects::changes(&format!("ep s{service} {address} node-1")).remove(0)
    }

    fn removed(self) -> Change {
        Change::SliceGone(ServiceName {
            namespace: "default".to_owned(),
            name: format!("s{}-a-{}", self.service, self.address().port()),
        })
    }
}

/// What listens, answered by one thread.
#[derive(Clone, Default)]
struct Servers {
    listeners: Arc<Mutex<BTreeMap<Place, Arc<TcpListener>>>>,
}

impl Servers {
    fn open(&self, network: &Network, place: Place) {
        let mut listeners = self.listeners.lock().expect("no panic");
        listeners.entry(place).or_insert_with(|| {
            let bind = move || TcpListener::bind(place.address());
            let listener = loop {
                match network.from(place.pod(), bind) {
                    Ok(listener) => break listener,
                    // The thread that serves has not let go of the former one.
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    Err(error) => panic!("{}: {error}", place.address()),
                }
            };
            listener.set_nonblocking(true).expect("nonblocking");
            Arc::new(listener)
        });
    }

    /// Takes whoever is in the queue still, and closes.
    fn close(&self, place: Place) {
        let listener = self.listeners.lock().expect("no panic").remove(&place);
        answer(&listener.expect("an open endpoint"));
    }

    fn serve(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let open: Vec<_> = {
                let listeners = self.listeners.lock().expect("no panic");
                listeners.values().cloned().collect()
            };
            let mut ready: Vec<_> = open
                .iter()
                .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
                .collect();
            poll(&mut ready, PollTimeout::from(2u8)).expect("polled");
            for (listener, state) in open.iter().zip(&ready) {
                if state.any() == Some(true) {
                    answer(listener);
                }
            }
        }
    }
}

fn answer(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        // A client that has gone is none of the server's business.
        let _ = stream.write_all(b"here");
    }
}

fn connect(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.as_str() {
        "here" => Ok(()),
        other => Err(io::Error::other(format!("answered {other:?}"))),
    }
}

/// A client in the namespace of `source` that connects to each Service in turn; its
/// failures.
fn client(
    network: &Network,
    source: IpAddr,
    stop: &Arc<AtomicBool>,
    connections: &Arc<AtomicUsize>,
) -> JoinHandle<Vec<String>> {
    let (stop, connections) = (stop.clone(), connections.clone());
    network.from(source, move || {
        std::thread::spawn(move || {
            let mut failures = Vec::new();
            for service in (0..SERVICES).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let to = SocketAddr::from(([10, 96, 0, service as u8 + 10], 80));
                connections.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = connect(to) {
                    failures.push(format!("s{service}: {error}"));
                }
                std::thread::sleep(PAUSE);
            }
            failures
        })
    })
}

/// The proxy with what it is told, and what it has done.
struct Churn<'a> {
    network: &'a Network,
    servers: Servers,
    catalog: Catalog,
    table: Table<Netlink>,
    choices: Choices,
    /// What each Service has.
    members: Vec<Vec<Place>>,
    /// Removed endpoints that still listen, and the sweep after which they need not.
    leaving: BTreeMap<Place, usize>,
    sweeps: usize,
    syncs: usize,
    slowest_sync: Duration,
}

impl Churn<'_> {
    /// One endpoint comes or goes; never a Service's last.
    fn change(&mut self) {
        let choice = self.choices.next() as usize;
        let place = Place { service: choice % SERVICES, endpoint: choice / SERVICES % ENDPOINTS };
        let members = &mut self.members[place.service];
        match members.iter().position(|member| *member == place) {
            Some(at) if members.len() > 1 => {
                members.remove(at);
                self.leaving.insert(place, self.sweeps + 2);
                self.catalog.apply(place.removed());
            }
            Some(_) => self.change(),
            None => {
                members.push(place);
                self.leaving.remove(&place);
                self.servers.open(self.network, place);
                self.catalog.apply(place.added());
            }
        }
    }

    fn sync(&mut self) {
        let begin = Instant::now();
        let dirty = self.catalog.take_dirty();
        self.table.sync(&self.catalog, &dirty).expect("synced");
        self.syncs += 1;
        self.slowest_sync = self.slowest_sync.max(begin.elapsed());
    }

    fn sweep(&mut self) {
        self.table.sweep().expect("swept");
        self.sweeps += 1;
        let sweeps = self.sweeps;
        let (gone, rest): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.leaving).into_iter().partition(|(_, until)| *until <= sweeps);
        self.leaving = rest;
        gone.into_keys().for_each(|place| self.servers.close(place));
    }

    /// As many changes as are due, at each moment, and on until the clients have made so many
    /// connections. Returns how many changes it were, and the time that they took.
    fn run(
        &mut self,
        changes: usize,
        connections: &AtomicUsize,
        wanted: usize,
    ) -> (usize, Duration) {
        let begin = Instant::now();
        let mut swept_at = begin;
        let mut passing: Option<JoinHandle<()>> = None;
        let mut done = 0;
        while done < changes || connections.load(Ordering::Relaxed) < wanted {
            let due = begin.elapsed().as_millis() as usize * CHANGES_PER_SECOND / 1_000;
            if due > done {
                (done..due).for_each(|_| self.change());
                done = due;
                self.sync();
            } else {
                std::thread::sleep(Duration::from_micros(200));
            }
            if passing.as_ref().is_some_and(JoinHandle::is_finished) {
                passing = None;
                self.sweep();
                swept_at = Instant::now();
            } else if passing.is_none() && swept_at.elapsed() >= SWEEP_EVERY {
                passing = Some(std::thread::spawn(mode::let_packets_pass));
            }
        }
        (done, begin.elapsed())
    }
}

/// Services with clients, one of them with affinity, among many others.
fn services() -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        let options = if service == 0 { " affinity=600" } else { "" };
        text += &format!("svc s{service} 10.96.0.{} 80/tcp{options}\n", service + 10);
    }
    for index in 0..500 {
        let (high, low) = (index / 250 + 1, index % 250 + 1);
        text += &format!("svc other{index} 10.96.{high}.{low} 80/tcp\n");
        text += &format!("ep other{index} 10.244.2.{low}:80 node-2\n");
    }
    text
}

fn check_end(churn: &mut Churn<'_>) {
    while churn.table.needs_sweep() {
        churn.sweep();
    }
    let found = churn.table.kernel().dump();
    let found = found.expect("a dump");
    assert_eq!(Some(&found), churn.table.installed());
    let mut text = services();
    for place in churn.members.iter().flatten() {
        text += &format!("ep s{} {} node-1\n", place.service, place.address());
    }
    let mut catalog = table::catalog_of(objects::changes(&text));
    let dirty = catalog.take_dirty();
    let mut fresh = Table::new(table::settings(), MemoryKernel::default());
    fresh.sync(&catalog, &dirty).expect("synced");
    while fresh.needs_sweep() {
        fresh.sweep().expect("swept");
    }
    assert_eq!(normal(&found), normal(&fresh.kernel().ruleset));
}

#[test]
fn no_connection_fails_while_endpoints_come_and_go() {
    network::in_namespaces("churn::no_connection_fails_while_endpoints_come_and_go", || {
        let seconds = std::env::var("CORACLE_CHURN_SECONDS")
            .map_or(10, |text| text.parse().expect("seconds"));
        let network = Network::new();
        network.refuse_beyond("10.96.0.0/16");
        let mut churn = Churn {
            network: &network,
            servers: Servers::default(),
            catalog: table::catalog_of(objects::changes(&services())),
            table: Table::new(
                table::settings(),
                Netlink::open(Family::V4, TABLE).expect("netlink"),
            ),
            choices: Choices(0x9e37_79b9_7f4a_7c15),
            members: vec![Vec::new(); SERVICES],
            leaving: BTreeMap::new(),
            sweeps: 0,
            syncs: 0,
            slowest_sync: Duration::ZERO,
        };
        while churn.members.iter().any(Vec::is_empty) {
            churn.change();
        }
        churn.sync();
        let [stop, closed] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let connections = Arc::new(AtomicUsize::new(0));
        let server = {
            let (servers, closed) = (churn.servers.clone(), closed.clone());
            std::thread::spawn(move || servers.serve(&closed))
        };
        let sources = [PODS[0], PODS[1], IpAddr::from([192, 168, 77, 11])];
        let clients = sources.map(|source| client(&network, source, &stop, &connections));
        let before = churn.table.traffic();
        let changes = CHANGES_PER_SECOND * seconds;
        let (changes, elapsed) = churn.run(changes, &connections, 100 * seconds);
        let traffic = churn.table.traffic();
        let (syncs, sweeps) = (churn.syncs, churn.sweeps);
        check_end(&mut churn);
        stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> = clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client's account"))
            .collect();
        closed.store(true, Ordering::Relaxed);
        server.join().expect("the servers' end");
        let connections = connections.load(Ordering::Relaxed);
        println!(
            "{changes} changes in {elapsed:.1?}, {:.0}/s: {syncs} rounds (slowest {:.1?}), {sweeps} sweeps, {} transactions, {} bytes; {connections} connections, {} failed",
            changes as f64 / elapsed.as_secs_f64(),
            churn.slowest_sync,
            traffic.transactions - before.transactions,
            traffic.bytes - before.bytes,
            failures.len()
        );
        assert!(
            failures.is_empty(),
            "{} failed: {:?}",
            failures.len(),
            &failures[..failures.len().min(20)]
        );
    });
}
