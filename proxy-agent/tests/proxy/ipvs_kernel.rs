//! Mode `ipvs` on a real kernel, in a virtual machine: packets, and what `ipvsadm`, `ip`
//! and `nft` show. Never touches this machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use proxy_agent::conntrack;
use proxy_agent::mode::ipvs::netlink::Netlink;
use proxy_agent::mode::ipvs::render::render_servers;
use proxy_agent::mode::ipvs::{self, Director};
use proxy_agent::mode::nftables::netlink::Netlink as TableNetlink;
use proxy_agent::mode::{self, LocalTraffic, Mode, ModeName, Settings};
use proxy_agent::model::{Dirty, Family, Model};

use super::ipvs::OBJECTS;
use super::network::{Network, ask_tcp};
use super::objects;
use super::table::{check_in_kernel, model_of, settings};
use super::vm::in_vm;

/// All tests of this file run in one machine.
const GROUP: &str = "ipvs_kernel::";
const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 11));
const OTHER_POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 12));

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// Everything that the mode makes, as other programs see it.
fn shown() -> Vec<String> {
    let servers = sorted(&output("ipvsadm", "-Sn"));
    let addresses = output("ip", "-o addr show dev kube-ipvs0");
    let table = output("nft", "list ruleset");
    servers
        .into_iter()
        .chain(addresses.lines().map(str::to_owned))
        .chain(table.lines().map(str::to_owned))
        .collect()
}

/// A mode that has `text`, and its model.
fn synced(settings: Settings, text: &str) -> (Director<Netlink>, Model) {
    let mut director = ipvs::open(settings).expect("a mode that works here");
    let mut model = model_of(objects::changes(text));
    let dirty = model.take_dirty();
    director.sync(&model, &dirty).expect("synced");
    (director, model)
}

fn change(director: &mut Director<Netlink>, model: &mut Model, text: &str) {
    objects::changes(text)
        .into_iter()
        .for_each(|change| model.apply(change));
    let dirty = model.take_dirty();
    director.sync(model, &dirty).expect("synced");
    while director.needs_sweep() {
        director.sweep(model).expect("swept");
    }
}

/// Who answers a new connection.
fn who(network: &Network, from: IpAddr, to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let answer = network.from(from, move || ask_tcp(to))?;
    let server = answer.split(' ').next().unwrap_or_default();
    Ok(server.to_owned())
}

#[test]
fn the_kernel_does_what_the_table_says() {
    let name = "ipvs_kernel::the_kernel_does_what_the_table_says";
    in_vm(GROUP, name, || check_in_kernel(name, ModeName::Ipvs));
}

#[test]
fn ipvsadm_shows_a_virtual_server_for_each_port_and_node_address() {
    let name = "ipvs_kernel::ipvsadm_shows_a_virtual_server_for_each_port_and_node_address";
    in_vm(GROUP, name, || {
        let _network = Network::new();
        let (mut director, _) = synced(
            settings(),
            "svc web 10.96.0.10 80/tcp node-port=30010
             ep web 10.244.1.11:8080 node-1
             ep web 10.244.1.12:8080 node-1
             svc sticky 10.96.0.23 80/tcp affinity=10800
             ep sticky 10.244.1.11:8080 node-1
             svc none 10.96.0.12 53/udp",
        );
        let shown = output("ipvsadm", "-Ln");
        let entry = |head: &str, rest: &[&str]| {
            let start = shown
                .find(head)
                .unwrap_or_else(|| panic!("{head} in\n{shown}"));
            let lines = shown[start..].lines().skip(1);
            let reals = lines.take_while(|line| line.trim_start().starts_with("->"));
            let reals: BTreeSet<String> = reals
                .map(|line| {
                    line.split_whitespace()
                        .skip(1)
                        .take(3)
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect();
            let rest: BTreeSet<String> = rest.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(reals, rest, "{shown}");
        };
        let both = ["10.244.1.11:8080 Masq 1", "10.244.1.12:8080 Masq 1"];
        entry("TCP  10.96.0.10:80 rr\n", &both);
        entry("TCP  192.168.77.11:30010 rr\n", &both);
        entry("TCP  10.96.0.23:80 rr persistent 10800\n", &both[..1]);
        entry("UDP  10.96.0.12:53 rr\n", &[]);

        let installed = director.installed().expect("known");
        let ours = render_servers(&installed.servers);
        assert_eq!(sorted(&ours), sorted(&output("ipvsadm", "-Sn")));
        let addresses = output("ip", "-o -4 addr show dev kube-ipvs0");
        for address in ["10.96.0.10/32", "10.96.0.12/32", "10.96.0.23/32"] {
            assert!(addresses.contains(address), "{addresses}");
        }
        assert_eq!(addresses.lines().count(), 3, "{addresses}");
        director.distrust();
    });
}

#[test]
fn connections_go_strictly_in_turn() {
    let name = "ipvs_kernel::connections_go_strictly_in_turn";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let (_director, _) = synced(
            settings(),
            "svc web 10.96.0.10 80/tcp
             ep web 10.244.1.11:8080 node-1
             ep web 10.244.1.12:8080 node-1
             ep web 10.244.2.11:8080 node-2",
        );
        let answers: Vec<String> = (0..12)
            .map(|_| who(&network, POD, "10.96.0.10:80").expect("an answer"))
            .collect();
        let first: BTreeSet<&String> = answers[..3].iter().collect();
        assert_eq!(first.len(), 3, "{answers:?}");
        assert!(
            answers.chunks(3).all(|round| round == &answers[..3]),
            "{answers:?}"
        );
    });
}

#[test]
fn a_client_stays_until_its_time_is_over() {
    let name = "ipvs_kernel::a_client_stays_until_its_time_is_over";
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
            (0..9)
                .map(|_| who(&network, from, "10.96.0.10:80").expect("an answer"))
                .collect()
        };
        assert_eq!(answers(POD).len(), 1);
        assert_eq!(answers(OTHER_POD).len(), 1);
        assert_eq!(
            answers("192.168.78.2".parse().expect("an address")).len(),
            1
        );

        let ask = || {
            let answer = network.from(POD, || ask_udp("10.96.0.22:53"));
            answer.expect("an answer")
        };
        let first = ask();
        assert!(connections().contains("UDP 10.96.0.22:53"), "remembered");
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
    let name = "ipvs_kernel::an_open_connection_outlives_its_endpoint";
    in_vm(GROUP, name, || {
        let network = Network::new();
        echo(&network, POD);
        echo(&network, OTHER_POD);
        let with = |endpoints: &[&str]| {
            let lines = endpoints.iter().map(|ep| format!("ep web {ep}:7 node-1\n"));
            "svc web 10.96.0.10 80/tcp\n".to_owned() + &lines.collect::<String>()
        };
        let (mut director, mut model) = synced(settings(), &with(&["10.244.1.11", "10.244.1.12"]));
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

        change(&mut director, &mut model, &with(&["10.244.1.12"]));
        for _ in 0..4 {
            assert_eq!(connect().say("who"), "10.244.1.12");
        }
        let mut old = streams.remove("10.244.1.11").expect("both were met");
        assert_eq!(old.say("who"), "10.244.1.11");
        let real = "10.244.1.11:7 -m -w 0";
        assert!(
            output("ipvsadm", "-Sn").contains(real),
            "it gets no new ones"
        );
        // A look at the kernel changes nothing while the connection is there.
        director.distrust();
        change(&mut director, &mut model, "");
        assert_eq!(old.say("who"), "10.244.1.11");

        old.reset();
        while output("ipvsadm", "-Sn").contains("10.244.1.11") {
            std::thread::sleep(Duration::from_millis(200));
            director.distrust();
            change(&mut director, &mut model, "");
        }
        let mut other = streams.remove("10.244.1.12").expect("both were met");
        assert_eq!(other.say("who"), "10.244.1.12");
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
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
            .expect("no lingering");
    }
}

#[test]
fn the_node_itself_reaches_a_service_without_choosing_its_source() {
    let name = "ipvs_kernel::the_node_itself_reaches_a_service_without_choosing_its_source";
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
    let name = "ipvs_kernel::a_udp_client_follows_the_endpoints";
    in_vm(GROUP, name, || {
        let network = Network::new();
        let (mut director, mut model) = synced(
            settings(),
            "svc dns 10.96.0.22 53/udp
             ep dns 10.244.1.12:5353 node-1",
        );
        let socket = network.from(POD, || UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        let ask = || ask_again(&socket, "10.96.0.22:53").expect("an answer");
        assert_eq!(ask(), "10.244.1.12:5353");
        change(&mut director, &mut model, "ep dns 10.244.2.11:5353 node-2");
        let to = model.destinations().cloned().collect::<Vec<_>>();
        let endpoints = |to| {
            let routes = model.routes(to).expect("a route");
            routes.inside.endpoints.iter().copied().collect()
        };
        let wanted = to.iter().map(|to| (to.clone(), endpoints(to))).collect();
        conntrack::clean(&wanted).expect("forgotten");
        assert_eq!(ask(), "10.244.2.11:5353");
    });
}

#[test]
fn a_service_address_answers_only_on_its_ports() {
    let name = "ipvs_kernel::a_service_address_answers_only_on_its_ports";
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
                ping.args(arguments.split_whitespace())
                    .output()
                    .expect("busybox")
                    .status
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

#[test]
fn a_restart_changes_nothing_and_a_damage_is_repaired() {
    let name = "ipvs_kernel::a_restart_changes_nothing_and_a_damage_is_repaired";
    in_vm(GROUP, name, || {
        let _network = Network::new();
        let (mut director, model) = synced(settings(), OBJECTS);
        let whole = shown();
        let mut table = TableNetlink::open(Family::V4).expect("netlink");
        let generation = table.generation().expect("a generation");
        drop(director);
        director = ipvs::open(settings()).expect("a mode that works here");
        director.sync(&model, &Dirty::default()).expect("synced");
        assert_eq!(table.generation().expect("a generation"), generation);
        assert_eq!(shown(), whole);

        output("ipvsadm", "-D -t 10.96.0.10:80");
        output("ipvsadm", "-d -t 10.96.0.15:80 -r 10.244.1.12:8080");
        output("ipvsadm", "-E -u 10.96.0.22:53 -s lc");
        output("ip", "addr del 10.96.0.12/32 dev kube-ipvs0");
        output("nft", "flush set ip coracle-proxy-ipvs addresses");
        assert_ne!(shown(), whole);
        director.distrust();
        director.sync(&model, &Dirty::default()).expect("repaired");
        assert_eq!(sorted(&shown().join("\n")), sorted(&whole.join("\n")));

        output("ip", "link del kube-ipvs0");
        output("ipvsadm", "-C");
        output("nft", "delete table ip coracle-proxy-ipvs");
        director.distrust();
        director.sync(&model, &Dirty::default()).expect("repaired");
        let names = |shown: Vec<String>| shown.len();
        assert_eq!(names(shown()), whole.len());
    });
}

#[test]
fn changes_of_mode_leave_nothing_of_the_former() {
    let name = "ipvs_kernel::changes_of_mode_leave_nothing_of_the_former";
    in_vm(GROUP, name, || {
        let network = Network::new();
        output("ipvsadm", "-A -t 192.168.77.11:6443 -s rr");
        let mut model = model_of(objects::changes(OBJECTS));
        model.take_dirty();
        for name in [ModeName::Ipvs, ModeName::Nftables, ModeName::Ipvs] {
            let mut mode = mode::open(name, settings()).expect("a mode that works here");
            for other in ModeName::ALL.into_iter().filter(|other| *other != name) {
                mode::cleanup(other, Family::V4).expect("cleaned");
            }
            mode.sync(&model, &Dirty::default()).expect("synced");
            assert!(who(&network, POD, "10.96.0.10:80").is_ok(), "{name}");
            let tables = output("nft", "list tables");
            let links = output("ip", "-o link");
            let servers = output("ipvsadm", "-Sn");
            let is_ipvs = name == ModeName::Ipvs;
            assert_eq!(tables.lines().count(), 1, "{tables}");
            assert_eq!(tables.contains("coracle-proxy-ipvs"), is_ipvs, "{tables}");
            assert_eq!(links.contains("kube-ipvs0"), is_ipvs, "{links}");
            assert_eq!(servers.lines().count() > 1, is_ipvs, "{servers}");
            assert!(servers.contains("192.168.77.11:6443"), "another's stays");
        }
        mode::cleanup(ModeName::Ipvs, Family::V4).expect("cleaned");
        assert_eq!(output("ipvsadm", "-Sn"), "-A -t 192.168.77.11:6443 -s rr\n");
        assert_eq!(output("nft", "list ruleset"), "");
        assert!(!output("ip", "-o link").contains("kube-ipvs0"));
    });
}

#[test]
fn an_unknown_scheduler_is_named() {
    let name = "ipvs_kernel::an_unknown_scheduler_is_named";
    in_vm(GROUP, name, || {
        let mut settings = settings();
        settings.ipvs.scheduler = "guess".to_owned();
        let Err(error) = ipvs::open(settings) else {
            panic!("no such scheduler")
        };
        let error = format!("{error:#}");
        assert!(error.contains("load the module ip_vs_guess"), "{error}");
        assert!(
            !output("ip", "-o link").contains("kube-ipvs0"),
            "nothing is left"
        );
    });
}
