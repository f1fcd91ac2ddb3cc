//! Packets and connections through virtual servers. Never looks at what was programmed but
//! to wait for it.

use proxy_agent::routes::RouteTable;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proxy_agent::conntrack;
use proxy_agent::mode::Mode;
use proxy_agent::settings::LocalTraffic;

use super::{GROUP, OTHER_POD, POD, change, output, synced, who};
use crate::network::Network;
use crate::table::{check_in_kernel, settings};
use crate::vm::in_vm;

#[test]
fn the_kernel_does_what_the_table_says() {
    let name = "ipvs_kernel::connections::the_kernel_does_what_the_table_says";
    in_vm(GROUP, name, || check_in_kernel(name, "ipvs"));
}

#[test]
fn connections_go_strictly_in_turn() {
    let name = "ipvs_kernel::connections::connections_go_strictly_in_turn";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let (_director, _) = synced(
            settings(),
            "svc web 10.96.0.10 80/tcp
             ep web 10.244.1.11:8080 node-1
             ep web 10.244.1.12:8080 node-1
             ep web 10.244.2.11:8080 node-2",
        );
        let answers: Vec<String> =
            (0..12).map(|_| who(&network, POD, "10.96.0.10:80").expect("an answer")).collect();
        let first: BTreeSet<&String> = answers[..3].iter().collect();
        assert_eq!(first.len(), 3, "{answers:?}");
        assert!(answers.chunks(3).all(|round| round == &answers[..3]), "{answers:?}");
    });
}

#[test]
fn a_client_stays_until_its_time_is_over() {
    let name = "ipvs_kernel::connections::a_client_stays_until_its_time_is_over";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let mut settings = settings();
        // A client is remembered at least as long as its connections are.
        settings.ipvs.udp_timeout = Duration::from_secs(1);
        let (_director, _) = synced(
            settings,
            "svc web 10.96.0.10 80/tcp affinity=10800
             ep web 10.244.1.11:8080 node-1
             ep web 10.244.1.12:8080 node-1
             ep web 10.244.2.11:8080 node-2
             svc dns 10.96.0.22 53/udp affinity=1
             ep dns 10.244.1.12:5353 node-1
             ep dns 10.244.2.11:5353 node-2",
        );
        let answers = |from| -> BTreeSet<String> {
            (0..9).map(|_| who(&network, from, "10.96.0.10:80").expect("an answer")).collect()
        };
        assert_eq!(answers(POD).len(), 1);
        assert_eq!(answers(OTHER_POD).len(), 1);
        assert_eq!(answers("192.168.78.2".parse().expect("an address")).len(), 1);

        let ask = || {
            let answer = network.from(POD, || ask_udp("10.96.0.22:53"));
            answer.expect("an answer")
        };
        // On a busy machine the second may be over before the kernel is asked.
        let first = loop {
            let answer = ask();
            if connections().contains("UDP 10.96.0.22:53") {
                break answer;
            }
        };
        // Forgotten in the kernel, and so the turn is the other's.
        while connections().contains("UDP 10.96.0.22:53") {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_ne!(ask(), first);
    });
}

/// Remembered clients and connections, as `PROTOCOL VIRTUAL:PORT`.
fn connections() -> String {
    let text = output("ipvsadm", "-Lnc");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.len() >= 6).then(|| format!("{} {}\n", words[0], words[4]))
    };
    text.lines().filter_map(line).collect()
}

fn ask_udp(to: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    ask_again(&socket, to)
}

fn ask_again(socket: &UdpSocket, to: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.connect(to)?;
    socket.send(b"who")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    Ok(answer.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn an_open_connection_outlives_its_endpoint() {
    let name = "ipvs_kernel::connections::an_open_connection_outlives_its_endpoint";
    in_vm(GROUP, name, || {
        let network = Network::new();
        echo(&network, POD);
        echo(&network, OTHER_POD);
        let with = |endpoints: &[&str]| {
            let lines = endpoints.iter().map(|ep| format!("ep web {ep}:7 node-1\n"));
            "svc web 10.96.0.10 80/tcp\n".to_owned() + &lines.collect::<String>()
        };
        let (mut director, mut catalog) =
            synced(settings(), &with(&["10.244.1.11", "10.244.1.12"]));
        let client = "10.244.2.11".parse().expect("an address");
        let connect = || {
            let stream = network.from(client, || {
                TcpStream::connect_timeout(
                    &"10.96.0.10:80".parse().expect("ADDRESS:PORT"),
                    Duration::from_secs(20),
                )
            });
            Echo::new(stream.expect("a connection"))
        };
        let mut streams: BTreeMap<String, Echo> = BTreeMap::new();
        for _ in 0..2 {
            let mut stream = connect();
            let server = stream.say("who");
            streams.insert(server, stream);
        }
        assert_eq!(streams.len(), 2, "strictly in turn");

        change(&mut director, &mut catalog, &with(&["10.244.1.12"]));
        for _ in 0..4 {
            assert_eq!(connect().say("who"), "10.244.1.12");
        }
        let mut old = streams.remove("10.244.1.11").expect("both were met");
        assert_eq!(old.say("who"), "10.244.1.11");
        let real = "10.244.1.11:7 -m -w 0";
        assert!(output("ipvsadm", "-Sn").contains(real), "it gets no new ones");
        // A look at the kernel changes nothing while the connection is there.
        director.distrust();
        change(&mut director, &mut catalog, "");
        assert_eq!(old.say("who"), "10.244.1.11");

        old.reset();
        while output("ipvsadm", "-Sn").contains("10.244.1.11") {
            std::thread::sleep(Duration::from_millis(200));
            director.distrust();
            change(&mut director, &mut catalog, "");
        }
        let mut other = streams.remove("10.244.1.12").expect("both were met");
        assert_eq!(other.say("who"), "10.244.1.12");
    });
}

#[test]
fn no_connection_fails_while_endpoints_come_and_go() {
    let name = "ipvs_kernel::connections::no_connection_fails_while_endpoints_come_and_go";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let pods = ["10.244.1.11", "10.244.1.12", "10.244.2.11"];
        let some = |which: usize| {
            let chosen = pods.iter().enumerate().filter(|(bit, _)| which & 1 << bit != 0);
            let lines = chosen.map(|(_, pod)| format!("ep web {pod}:8080 node-1\n"));
            let affinity = if which.is_multiple_of(2) { "affinity=60" } else { "" };
            let service = format!("svc web 10.96.0.10 80/tcp {affinity} node-port=30010\n");
            service + &lines.collect::<String>()
        };
        let (mut director, mut catalog) = synced(settings(), &some(7));
        let outside = "192.168.78.2".parse().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let ways = [(POD, "10.96.0.10:80"), (outside, "192.168.77.11:30010")];
        let connections = Arc::new(ways.map(|_| AtomicUsize::new(0)));
        let clients: Vec<_> = ways
            .into_iter()
            .enumerate()
            .map(|(client, (from, to))| {
                let (stop, connections) = (stop.clone(), connections.clone());
                let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
                network.start(from, move || {
                    let patience = Duration::from_secs(20);
                    let connect = || {
                        let stream = TcpStream::connect_timeout(&to, patience)?;
                        stream.set_read_timeout(Some(patience))?;
                        (&stream).read_to_string(&mut String::new())
                    };
                    while !stop.load(Ordering::Relaxed) {
                        if let Err(error) = connect() {
                            stop.store(true, Ordering::Relaxed);
                            return Err(error);
                        }
                        connections[client].fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        // A failed client stops all.
        let enough = || {
            let made = |made: &AtomicUsize| made.load(Ordering::Relaxed) > 10;
            stop.load(Ordering::Relaxed) || connections.iter().all(made)
        };
        for round in (0..).take_while(|round| *round < 60 || !enough()) {
            change(&mut director, &mut catalog, &some(round * 5 % 7 + 1));
            if round % 10 == 9 {
                director.distrust();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.recv().expect("a result").expect("no failure");
        }
    });
}

/// Answers each line with the own address, until the end.
fn echo(network: &Network, address: IpAddr) {
    network.from(address, move || {
        let listener = std::net::TcpListener::bind((address, 7)).expect("a free port");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    for _ in lines {
                        // A client that has gone is none of the server's business.
                        let _ = (&stream).write_all(format!("{address}\n").as_bytes());
                    }
                });
            }
        });
    });
}

/// A connection to [`echo`].
struct Echo(BufReader<TcpStream>);

impl Echo {
    fn new(stream: TcpStream) -> Echo {
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("a timeout");
        Echo(BufReader::new(stream))
    }

    fn say(&mut self, word: &str) -> String {
        let text = format!("{word}\n");
        self.0.get_ref().write_all(text.as_bytes()).expect("sent");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line.trim().to_owned()
    }

    /// Ends without the quarter of an hour that an orderly end is remembered for.
    fn reset(self) {
        let stream = self.0.into_inner();
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
            .expect("no lingering");
    }
}

#[test]
fn the_node_itself_reaches_a_service_without_choosing_its_source() {
    let name =
        "ipvs_kernel::connections::the_node_itself_reaches_a_service_without_choosing_its_source";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let mut settings = settings();
        settings.local_traffic = LocalTraffic::Unknown;
        let (_director, _) = synced(
            settings,
            "svc web 10.96.0.10 80/tcp
             ep web 10.244.1.11:8080 node-1",
        );
        // The kernel takes the carried address itself, where no answer would come back to.
        let node = "192.168.77.11".parse().expect("an address");
        let answer = who(&network, node, "10.96.0.10:80");
        assert_eq!(answer.expect("an answer"), "10.244.1.11:8080");
    });
}

#[test]
fn a_udp_client_follows_the_endpoints() {
    let name = "ipvs_kernel::connections::a_udp_client_follows_the_endpoints";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let (mut director, mut catalog) = synced(
            settings(),
            "svc dns 10.96.0.22 53/udp
             ep dns 10.244.1.12:5353 node-1",
        );
        let socket = network.from(POD, || UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        let ask = || ask_again(&socket, "10.96.0.22:53").expect("an answer");
        assert_eq!(ask(), "10.244.1.12:5353");
        change(&mut director, &mut catalog, "ep dns 10.244.2.11:5353 node-2");
        let to = catalog.destinations().cloned().collect::<Vec<_>>();
        let endpoints = |to| {
            let routes = catalog.routes(to).expect("a route");
            routes.inside.endpoints.iter().copied().collect()
        };
        let wanted = to.iter().map(|to| (to.clone(), endpoints(to))).collect();
        conntrack::clean(&wanted).expect("forgotten");
        assert_eq!(ask(), "10.244.2.11:5353");
    });
}

#[test]
fn a_service_address_answers_only_on_its_ports() {
    let name = "ipvs_kernel::connections::a_service_address_answers_only_on_its_ports";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let _all = std::net::TcpListener::bind("0.0.0.0:22").expect("a free port");
        let (_director, _) = synced(
            settings(),
            "svc web 10.96.0.10 80/tcp
             ep web 10.244.1.12:8080 node-1",
        );
        let ping = |address: &str| {
            let arguments = format!("ping -c 1 -W 1 {address}");
            let status = network.from(POD, move || {
                let mut ping = Command::new("busybox");
                ping.args(arguments.split_whitespace()).output().expect("busybox").status
            });
            status.success()
        };
        assert!(ping("192.168.77.11"), "the node itself answers");
        assert!(!ping("10.96.0.10"));
        let error = who(&network, POD, "10.96.0.10:22").expect_err("not the node's own");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(who(&network, POD, "10.96.0.10:80").is_ok());
    });
}
