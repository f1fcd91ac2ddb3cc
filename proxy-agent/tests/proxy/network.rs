//! A node, its pods, another node, a client outside and what is beyond, in network
//! namespaces of the test's own, with both IP families. Never opens a socket in the
//! namespace the test came from.
//!
//! The namespaces end with the process that made them, however it ends.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use proxy_agent::routes::{Protocol, Target};

use super::packet::{Outcome, Packet, Row};
use super::sockets;

/// Set in the process that is inside.
pub const INSIDE: &str = "CORACLE_TEST_INSIDE";
/// Nobody answers within this where nobody should: dropped.
const SILENCE: Duration = Duration::from_millis(300);
/// Nobody answers within this where somebody should, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections until each of three endpoints has answered: all but 1 in 10^8 times.
const TRIES: usize = 48;

/// Runs `test`, named as the test harness names it, in new user and network
/// namespaces. Where they cannot be had: said aloud, or a failure in CI.
pub fn in_namespaces(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    if let Err(missing) = requirements() {
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        // Not `eprintln!`, which the harness keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED {name}: {missing}");
        return;
    }
    let output = command_inside(name).output().expect("the test's own program");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn requirements() -> Result<(), String> {
    Command::new("ip")
        .arg("-V")
        .output()
        .map_err(|_| "`ip` is missing: install iproute2".to_owned())?;
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return Err("this kernel has no IPv6".to_owned());
    }
    let status =
        new_namespaces(Command::new("ip").args(["link", "add", "probe0", "type", "veth"])).output();
    match status {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("no veth in a user namespace: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => Err(format!("no user namespaces: {error}")),
    }
}

fn command_inside(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    new_namespaces(&mut command);
    command
}

/// Has the child begin in a user and a network namespace of its own, as root there.
pub fn new_namespaces(command: &mut Command) -> &mut Command {
    let uid_map = format!("0 {} 1", nix::unistd::getuid());
    let gid_map = format!("0 {} 1", nix::unistd::getgid());
    let enter = move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", &gid_map)?;
        std::fs::write("/proc/self/uid_map", &uid_map)
    };
    // SAFETY: between fork and exec only system calls are made; the texts were
    // formatted before.
    unsafe { command.pre_exec(enter) }
}

/// Everything but the node: the node's link to it and its addresses. `fd44::/16` is
/// what `10.244.0.0/16` is for IPv4: the pods.
const PLACES: [(&str, &[&str]); 4] = [
    ("pod-a", &["10.244.1.11", "fd44:1::11"]),
    ("pod-b", &["10.244.1.12", "fd44:1::12"]),
    (
        "node-2",
        &["10.244.2.11", "10.244.2.12", "192.168.77.12", "fd44:2::11", "fd44:2::12", "fd77::12"],
    ),
    ("outside", &["192.168.78.2", "fd78::2"]),
];
/// The node's own addresses beside loopback, the one that its packets have first.
const NODE: [&str; 4] = ["192.168.77.11", "192.168.79.11", "fd77::11", "fd79::11"];
/// Where everything goes that the node has no other way for.
const BEYOND: &str = "beyond";

/// This node's addresses.
pub fn node_addresses() -> Vec<IpAddr> {
    let all = NODE.into_iter().chain(["127.0.0.1", "127.0.0.5", "::1"]);
    all.map(address).collect()
}

/// The interface through which packets of this source come to the node; the node's own
/// come through none.
pub fn interface_of(source: &IpAddr) -> &'static str {
    let has = |addresses: &[&str]| addresses.iter().any(|a| address(a) == *source);
    let place = PLACES.iter().find(|(_, addresses)| has(addresses));
    place.map_or("", |(link, _)| link)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
struct Space {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Space {
    fn new() -> Space {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(nix::unistd::gettid().as_raw()).expect("started");
            for job in queue {
                job();
            }
        });
        Space { jobs, thread: started.recv().expect("started") }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.jobs
            .send(Box::new(move || {
                let _ = done.send(job());
            }))
            .expect("a running namespace");
        result.recv().expect("no panic in a namespace")
    }
}

/// Runs `ip`, with `-6` where the arguments have an IPv6 address.
pub fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.contains("::").then_some("-6"))
        .args(arguments.split_whitespace())
        .output()
        .expect("ip");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Before there are interfaces: addresses are usable at once.
fn prepare_namespace() {
    sysctl("ipv6/conf/all/accept_dad", "0");
    sysctl("ipv6/conf/default/accept_dad", "0");
    ip("link set lo up");
}

fn add_address(address: &str, link: &str) {
    let (length, rest) = if address.contains(':') { (128, " nodad") } else { (32, "") };
    ip(&format!("addr add {address}/{length} dev {link}{rest}"));
}

/// The node is the calling thread's namespace.
pub struct Network {
    spaces: Vec<(Vec<IpAddr>, Space)>,
    beyond: Space,
    /// What has been made to answer so that "untouched" can be seen.
    answering: RefCell<BTreeSet<(Protocol, SocketAddr)>>,
}

impl Network {
    /// Makes it all and starts what answers: at each address but those beyond.
    pub fn new() -> Network {
        prepare_namespace();
        sysctl("ipv4/ip_forward", "1");
        sysctl("ipv6/conf/all/forwarding", "1");
        // The kernel sends one peer only so many ICMP errors a second.
        sysctl("ipv4/icmp_ratelimit", "0");
        sysctl("ipv4/icmp_msgs_per_sec", "100000");
        sysctl("ipv4/icmp_msgs_burst", "10000");
        sysctl("ipv6/icmp/ratelimit", "0");
        NODE.iter().for_each(|address| add_address(address, "lo"));
        let spaces: Vec<(Vec<IpAddr>, Space)> = PLACES
            .iter()
            .map(|(link, addresses)| {
                let space = connect(link, addresses);
                (addresses.iter().map(|a| address(a)).collect(), space)
            })
            .collect();
        let beyond = connect(BEYOND, &[]);
        ip("route add default via 169.254.2.2 dev beyond onlink src 192.168.77.11");
        ip("route add default via fe80::2 dev beyond src fd77::11");
        // A client that tries the node's loopback addresses.
        let (_, outside) = spaces.last().expect("the place outside");
        outside.run(|| {
            sysctl("ipv4/conf/all/route_localnet", "1");
            ip("route del table local local 127.0.0.0/8 dev lo");
            ip("route add 127.0.0.5 via 169.254.1.1 dev eth0");
        });
        sockets::listen(address("127.0.0.5"));
        for (addresses, space) in &spaces {
            for address in addresses.clone() {
                space.run(move || sockets::listen(address));
            }
        }
        NODE.iter().for_each(|a| sockets::listen(address(a)));
        Network { spaces, beyond, answering: RefCell::default() }
    }

    fn space_of(&self, source: IpAddr) -> Option<&Space> {
        let space = self.spaces.iter().find(|(all, _)| all.contains(&source));
        space.map(|(_, space)| space)
    }

    /// Runs `job` in the namespace that has this source address.
    pub fn from<T: Send + 'static>(
        &self,
        source: IpAddr,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self.space_of(source) {
            Some(space) => space.run(job),
            None => job(),
        }
    }

    /// Has every packet that no rule sends elsewhere refused beyond the node: it is seen at
    /// once, where it would be lost.
    pub fn refuse_beyond(&self, addresses: &'static str) {
        self.beyond.run(move || ip(&format!("route add local {addresses} dev lo")));
    }

    /// Starts `job` in the namespace that has this source address; the result comes
    /// through the channel.
    pub fn start<T: Send + 'static>(
        &self,
        source: IpAddr,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (done, result) = mpsc::channel();
        let job = move || {
            let _ = done.send(job());
        };
        let space = self.space_of(source).expect("a source");
        space.jobs.send(Box::new(job)).expect("a running namespace");
        result
    }

    /// Whether real packets meet what the row says of this mode, each outcome and no other.
    pub fn check(&self, row: &Row, mode: &'static str) -> Result<(), String> {
        let packet = &row.packet;
        let expected = row.outcomes(mode);
        let mut patience = PATIENCE;
        if expected.contains(&Outcome::Drop) {
            patience = SILENCE;
        }
        if expected.contains(&Outcome::Untouched) {
            self.have_answered(packet);
        }
        let mut missing = expected.clone();
        let tries = if expected.len() == 1 { 1 } else { TRIES };
        for _ in 0..tries {
            let outcome = self.send(packet, patience)?;
            if !expected.contains(&outcome) {
                return Err(format!("{outcome:?}"));
            }
            missing.remove(&outcome);
            if missing.is_empty() {
                return Ok(());
            }
        }
        Err(format!("never {missing:?}"))
    }

    /// Whether a ping is answered; long is waited only for what is to be seen.
    pub fn is_pinged(&self, source: &str, to: &str, is_expected: bool) -> bool {
        let (source, to) = (address(source), address(to));
        let patience = if is_expected { PATIENCE } else { SILENCE };
        let ping = move || sockets::is_pinged(source, to, patience);
        self.from(source, ping).expect("a raw socket")
    }

    /// What becomes of one connection, datagram or INIT.
    pub fn send(&self, packet: &Packet, patience: Duration) -> Result<Outcome, String> {
        let Packet { source, destination, protocol, port } = *packet;
        let to = SocketAddr::new(destination, port);
        self.from(source, move || {
            outcome_of(sockets::ask(protocol, source, to, patience), source, to)
        })
    }

    /// Makes the packet's own destination answer, on the node or beyond it.
    fn have_answered(&self, packet: &Packet) {
        let (protocol, to) = (packet.protocol, SocketAddr::new(packet.destination, packet.port));
        let is_new = self.answering.borrow_mut().insert((protocol, to));
        if !is_new || self.space_of(to.ip()).is_some() {
            return;
        }
        // Whoever has the port already answers there.
        if node_addresses().contains(&to.ip()) {
            // With SCTP each of the node's addresses answers at every port already.
            if protocol != Protocol::Sctp {
                let _ = sockets::listen_on(protocol, to);
            }
            return;
        }
        self.beyond.run(move || {
            if !sockets::has_address(to.ip()) {
                add_address(&to.ip().to_string(), "eth0");
            }
            let _ = sockets::listen_on(protocol, to);
        });
    }
}

/// A namespace at the end of a link from the node.
fn connect(link: &str, addresses: &'static [&str]) -> Space {
    let space = Space::new();
    space.run(prepare_namespace);
    ip(&format!("link add {link} type veth peer name eth0 netns {}", space.thread));
    ip(&format!("addr add 169.254.1.1/32 dev {link}"));
    ip(&format!("addr add fe80::1/64 dev {link} nodad"));
    // What masquerade takes: so no client is ever mistaken for masqueraded.
    add_address("fd69::1", link);
    ip(&format!("link set {link} up"));
    space.run(move || {
        ip("link set eth0 up");
        addresses.iter().for_each(|a| add_address(a, "eth0"));
        // The next hop to what is beyond; after the others, so that it is no pod's source.
        add_address("169.254.2.2", "eth0");
        ip("addr add fe80::2/64 dev eth0 nodad");
        ip("route add 169.254.1.1 dev eth0");
        ip("route add default via 169.254.1.1");
        ip("route add default via fe80::1 dev eth0");
    });
    for address in addresses {
        let own = if address.contains(':') { NODE[2] } else { NODE[0] };
        ip(&format!("route add {address} dev {link} src {own}"));
    }
    space
}

/// One TCP connection from wherever the kernel likes, where somebody answers or refuses.
pub fn ask_tcp(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn outcome_of(
    answer: io::Result<(SocketAddr, SocketAddr)>,
    source: IpAddr,
    to: SocketAddr,
) -> Result<Outcome, String> {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    match answer {
        Ok((own, _)) if own == to => Ok(Outcome::Untouched),
        Ok((own, client)) => Ok(Outcome::Endpoint {
            target: Target { address: own.ip(), port: own.port() },
            masquerade: client.ip() != source,
        }),
        Err(error) if error.kind() == ConnectionRefused => Ok(Outcome::Reject),
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Ok(Outcome::Drop),
        Err(error) => Err(error.to_string()),
    }
}
