//! How many queries a second over UDP, and how late: the server over 10,000 Services
//! beside a socket that only sends back what it gets, which is the most that any server
//! on this machine can do; and beside `dnsmasq` with the same names, where it is
//! installed. Never asserts a time.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_dns::cache::{Cache, DEFAULT_MAX_TTL_SECONDS};
use cluster_dns::forward::Forwards;
use cluster_dns::metrics::Metrics;
use cluster_dns::resolve::Resolver;
use cluster_dns::serve::Sockets;
use cluster_dns::state::State;
use cluster_dns::table::Table;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

const SERVICES: usize = 10_000;
const QUERIES: usize = 200_000;
/// Queries on their way at a time, in the throughput part.
const WINDOW: usize = 32;
/// A response that is not there by then is lost, and the figures are void.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let peers = [
        Some(("echo (ceiling)", echo(), None)),
        Some(("cluster-dns", cluster_dns(), None)),
        dnsmasq(folder.path()),
    ];
    println!("{SERVICES} Services, A queries over UDP on loopback, one client thread");
    println!("{:<18}{:>12}{:>10}{:>10}{:>10}", "", "queries/s", "ratio", "p50 µs", "p99 µs");
    let mut ceiling = None;
    for (name, server, child) in peers.into_iter().flatten() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let per_second = throughput(&socket);
        let (p50, p99) = latency(&socket);
        let ratio = per_second / *ceiling.get_or_insert(per_second);
        println!("{name:<18}{per_second:>12.0}{ratio:>10.2}{p50:>10.1}{p99:>10.1}");
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn service_name(index: usize) -> String {
    format!("s{}.default.svc.cluster.local.", index % SERVICES)
}

fn query(index: usize) -> Vec<u8> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    let name = Name::from_ascii(service_name(index)).expect("a name");
    query.add_query(Query::query(name, RecordType::A));
    query.to_vec().expect("encodes")
}

fn throughput(socket: &UdpSocket) -> f64 {
    let queries: Vec<Vec<u8>> = (0..SERVICES).map(query).collect();
    let mut buffer = [0; 4096];
    let begin = Instant::now();
    for index in 0..QUERIES + WINDOW {
        if index >= WINDOW {
            socket.recv(&mut buffer).expect("a response");
        }
        if index < QUERIES {
            socket.send(&queries[index % SERVICES]).expect("sent");
        }
    }
    QUERIES as f64 / begin.elapsed().as_secs_f64()
}

/// Median and 99th percentile in microseconds, one query at a time.
fn latency(socket: &UdpSocket) -> (f64, f64) {
    let mut buffer = [0; 4096];
    let mut taken: Vec<Duration> = (0..QUERIES / 10)
        .map(|index| {
            let query = query(index * 7);
            let begin = Instant::now();
            socket.send(&query).expect("sent");
            socket.recv(&mut buffer).expect("a response");
            begin.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let at = |part: f64| taken[(taken.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}

fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    });
    address
}

fn cluster_dns() -> SocketAddr {
    let mut table = Table::new(1);
    for index in 0..SERVICES {
        let ip = format!("10.96.{}.{}", index / 250, index % 250 + 1);
        let service = json!({
            "metadata": {"namespace": "default", "name": format!("s{index}")},
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]},
        });
        table.apply_service(serde_json::from_value(service).expect("a Service"));
    }
    let state = Arc::new(State::new(table));
    state.set_services_synced();
    state.set_slices_synced();
    let resolver = Arc::new(Resolver::new(
        state,
        Forwards::new(vec![], vec![]),
        Cache::new(DEFAULT_MAX_TTL_SECONDS),
        Arc::new(Metrics::new("cluster.local.")),
        Name::from_ascii("cluster.local.").expect("a name"),
    ));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async move {
            let sockets = Sockets::bind(([127, 0, 0, 1], 0).into()).await;
            let sockets = sockets.expect("a port");
            let _ = sender.send(sockets.address().expect("bound"));
            sockets.serve(resolver).await;
        });
    });
    receiver.recv().expect("started")
}

type Peer = (&'static str, SocketAddr, Option<Child>);

/// The same names from a hosts file; said aloud where there is no dnsmasq.
fn dnsmasq(folder: &std::path::Path) -> Option<Peer> {
    let hosts = folder.join("hosts");
    let lines = (0..SERVICES).map(|index| {
        let name = service_name(index);
        let ip = format!("10.96.{}.{}", index / 250, index % 250 + 1);
        format!("{ip} {}\n", name.trim_end_matches('.'))
    });
    fs::write(&hosts, lines.collect::<String>()).expect("a hosts file");
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let child = Command::new("dnsmasq")
        .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
        .args(["--bind-interfaces", "--listen-address=127.0.0.1"])
        .arg(format!("--port={}", address.port()))
        .arg(format!("--addn-hosts={}", hosts.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => {
            wait_until_it_answers(address);
            Some(("dnsmasq", address, Some(child)))
        }
        Err(error) => {
            println!("no dnsmasq to compare with ({error}): Debian has it as dnsmasq-base");
            None
        }
    }
}

fn wait_until_it_answers(server: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let short = Some(Duration::from_millis(100));
    socket.set_read_timeout(short).expect("a timeout");
    socket.connect(server).expect("loopback");
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let answered = socket.send(&query(0)).is_ok() && socket.recv(&mut [0; 512]).is_ok();
        if answered {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{server} never answers");
}
