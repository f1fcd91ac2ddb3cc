//! A node, its pods, another node and a client outside, in network namespaces of
//! the test's own. Never opens a socket in the namespace the test came from.
//!
//! The namespaces end with the process that made them, however it ends.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use proxy_agent::model::{Protocol, Target};

use super::packet::Outcome;
use super::packet::Row;

/// Set in the process that is inside.
pub const INSIDE: &str = "CORACLE_TEST_INSIDE";
/// Nobody answers within this: dropped. Everything else answers at once.
const SILENCE: Duration = Duration::from_millis(300);
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
    let output = command_inside(name)
        .output()
        .expect("the test's own program");
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
    let status =
        new_namespaces(Command::new("ip").args(["link", "add", "probe0", "type", "veth"])).output();
    match status {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "no veth in a user namespace: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("no user namespaces: {error}")),
    }
}

fn command_inside(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
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
        Space {
            jobs,
            thread: started.recv().expect("started"),
        }
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

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("ip");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The node is the calling thread's namespace.
pub struct Network {
    spaces: Vec<(IpAddr, Space)>,
}

impl Network {
    /// Makes it all and starts what answers: at each endpoint of the packet table.
    pub fn new() -> Network {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("ip_forward");
        // The kernel sends one peer only so many ICMP errors a second.
        std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").expect("icmp_ratelimit");
        ip("link set lo up");
        ip("addr add 192.168.77.11/32 dev lo");
        let mut spaces = Vec::new();
        for (index, addresses) in [
            ["10.244.1.11"].as_slice(),
            &["10.244.1.12"],
            &["10.244.2.11", "192.168.77.12"],
            &["192.168.78.2"],
        ]
        .into_iter()
        .enumerate()
        {
            let space = Space::new();
            let link = format!("veth{index}");
            ip(&format!(
                "link add {link} type veth peer name eth0 netns {}",
                space.thread
            ));
            ip(&format!("addr add 169.254.1.1/32 dev {link}"));
            ip(&format!("link set {link} up"));
            space.run(move || {
                ip("link set lo up");
                ip("link set eth0 up");
                for address in addresses {
                    ip(&format!("addr add {address}/32 dev eth0"));
                }
                ip("route add 169.254.1.1 dev eth0");
                ip("route add default via 169.254.1.1");
            });
            for address in addresses {
                ip(&format!("route add {address} dev {link} src 192.168.77.11"));
            }
            spaces.push((addresses[0].parse().expect("address"), space));
        }
        // Somewhere for packets to a cluster IP to be routed to.
        ip("route add default dev veth3 src 192.168.77.11");
        for (address, space) in &spaces {
            let address = *address;
            space.run(move || listen(address));
        }
        listen("192.168.77.11".parse().expect("address"));
        Network { spaces }
    }

    /// Runs `job` in the namespace that has this source address.
    pub fn from<T: Send + 'static>(
        &self,
        source: IpAddr,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self.spaces.iter().find(|(address, _)| *address == source) {
            Some((_, space)) => space.run(job),
            None => job(),
        }
    }

    /// Starts `job` in the namespace that has this source address; the result comes
    /// through the channel.
    pub fn start<T: Send + 'static>(
        &self,
        source: IpAddr,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (done, result) = mpsc::channel();
        let (_, space) = self
            .spaces
            .iter()
            .find(|(address, _)| *address == source)
            .expect("a source");
        let job = move || {
            let _ = done.send(job());
        };
        space.jobs.send(Box::new(job)).expect("a running namespace");
        result
    }

    /// Whether real packets meet what the row says, each outcome and no other.
    pub fn check(&self, row: &Row) -> Result<(), String> {
        let mut missing = row.outcomes.clone();
        let tries = if row.outcomes.len() == 1 { 2 } else { TRIES };
        for _ in 0..tries {
            let packet = row.packet.clone();
            let to = SocketAddr::new(packet.destination, packet.port);
            let outcome = self.from(packet.source, move || {
                let answer = match packet.protocol {
                    Protocol::Udp => ask_udp(to),
                    _ => ask_tcp(to),
                };
                outcome_of(answer, packet.source, to)
            })?;
            if !row.outcomes.contains(&outcome) {
                return Err(format!("{outcome:?}"));
            }
            missing.remove(&outcome);
            if missing.is_empty() {
                return Ok(());
            }
        }
        Err(format!("never {missing:?}"))
    }
}

/// Answers with the own address and the client's, over TCP and UDP, until the end.
fn listen(address: IpAddr) {
    let tcp = TcpListener::bind((address, 8080)).expect("a free port");
    let udp = UdpSocket::bind((address, 5353)).expect("a free port");
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            if let (Ok(own), Ok(client)) = (stream.local_addr(), stream.peer_addr()) {
                // A client that has gone is none of the server's business.
                let _ = (&stream).write_all(format!("{own} {client}").as_bytes());
            }
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, client)) = udp.recv_from(&mut buffer) {
            let own = udp.local_addr().expect("own address");
            let _ = udp.send_to(format!("{own} {client}").as_bytes(), client);
        }
    });
}

pub fn ask_tcp(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, SILENCE)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask_udp(to: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.connect(to)?;
    socket.send(b"who")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn outcome_of(
    answer: io::Result<String>,
    source: IpAddr,
    to: SocketAddr,
) -> Result<Outcome, String> {
    match answer {
        Ok(answer) => {
            let (own, client) = answer.split_once(' ').ok_or("an answer of two words")?;
            let own: SocketAddr = own.parse().map_err(|_| answer.clone())?;
            let client: SocketAddr = client.parse().map_err(|_| answer.clone())?;
            if own == to {
                return Ok(Outcome::Untouched);
            }
            let target = Target {
                address: own.ip(),
                port: own.port(),
            };
            // The node's own packets have its address anyway.
            let from_node = source == IpAddr::from([192, 168, 77, 11]);
            Ok(Outcome::Endpoint {
                target,
                masquerade: from_node || client.ip() != source,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Outcome::Reject),
        // What `send` itself says of a datagram that is refused on its way out.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Outcome::Reject),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            ) =>
        {
            Ok(Outcome::Drop)
        }
        Err(error) => Err(error.to_string()),
    }
}
