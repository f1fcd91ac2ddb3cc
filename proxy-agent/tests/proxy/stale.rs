//! A UDP or SCTP client that keeps its port goes on with an endpoint that is there, and
//! nobody else's connection is forgotten.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use proxy_agent::catalog::Catalog;
use proxy_agent::conntrack::{self, Wanted};
use proxy_agent::dnat::Table;
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::{Family, RouteTable};

use super::network::{self, Network};
use super::{objects, table};

fn wanted(catalog: &Catalog) -> Wanted {
    let endpoints =
        |to| catalog.routes(to).map(|routes| routes.inside.endpoints.iter().copied().collect());
    catalog.destinations().filter_map(|to| Some((to.clone(), endpoints(to)?))).collect()
}

/// A catalog, its table, and what is forgotten with each change.
struct Proxy {
    catalog: Catalog,
    table: Table<Netlink>,
}

impl Proxy {
    fn new(text: &str) -> Proxy {
        let catalog = table::catalog_of(objects::changes(text));
        let netlink = Netlink::open(Family::V4, TABLE).expect("netlink");
        let table = Table::new(table::settings(), netlink);
        let mut proxy = Proxy { catalog, table };
        proxy.go_on("");
        proxy
    }

    /// How many connections were forgotten after these changes.
    fn go_on(&mut self, text: &str) -> usize {
        for change in objects::changes(text) {
            self.catalog.apply(change);
        }
        let dirty = self.catalog.take_dirty();
        self.table.sync(&self.catalog, &dirty).expect("synced");
        conntrack::clean(&wanted(&self.catalog)).expect("cleaned").forgotten
    }
}

#[test]
fn a_udp_client_follows_the_endpoints() {
    network::in_namespaces("stale::a_udp_client_follows_the_endpoints", || {
        let network = Network::new();
        let mut proxy = Proxy::new("svc dns 10.96.0.22 53/udp");
        let client = network.from(IpAddr::from([10, 244, 1, 11]), || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            socket
        });
        let ask = || {
            client.send_to(b"who", SocketAddr::from(([10, 96, 0, 22], 53))).ok()?;
            let mut answer = [0; 64];
            let (length, _) = client.recv_from(&mut answer).ok()?;
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            answer.split_once(' ').map(|(own, _)| own.to_owned())
        };
        assert_eq!(ask(), None, "nobody serves");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        proxy.go_on("ep dns 10.244.1.12:5353 node-1");
        assert_eq!(ask().as_deref(), Some("10.244.1.12:5353"));
        assert_eq!(proxy.go_on(""), 0, "a live connection was forgotten");
        assert_eq!(proxy.go_on("ep dns 10.244.2.11:5353 node-2"), 1);
        assert_eq!(ask().as_deref(), Some("10.244.2.11:5353"));
    });
}

/// One UDP packet from a pod; its connection is tracked from then on.
fn send(network: &Network, to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().expect("an address");
    network.from(IpAddr::from([10, 244, 1, 11]), move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
        socket.send_to(b"who", to).expect("sent");
        socket
    })
}

#[test]
fn only_connections_that_lead_nowhere_are_forgotten() {
    network::in_namespaces("stale::only_connections_that_lead_nowhere_are_forgotten", || {
        let network = Network::new();
        // What a socket can be bound to is more then than what the node has.
        std::fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").expect("set");
        let mut text = "
            svc moves 10.96.0.51 53/udp node-port=30051
            ep moves 10.244.1.12:5353 node-1
            svc stays 10.96.0.52 53/udp
            ep stays 10.244.1.12:5353 node-1
            svc grows 10.96.0.53 53/udp
            ep grows 10.244.1.12:5353 node-1
        "
        .to_owned();
        // With few destinations each is asked for, with many all of the protocol.
        for others in [0, 20] {
            for index in 0..others {
                text += &format!("svc other{index} 10.96.2.{} 53/udp\n", index + 1);
            }
            cleanup(Family::V4).expect("an empty table");
            let mut proxy = Proxy::new(&text);
            let _sockets = [
                send(&network, "10.96.0.51:53"),
                send(&network, "192.168.77.11:30051"),
                send(&network, "10.96.0.52:53"),
                send(&network, "10.96.0.53:53"),
                // The same port as the node port, but of another host.
                send(&network, "192.168.78.2:30051"),
                send(&network, "10.244.2.11:5353"),
            ];
            assert_eq!(proxy.go_on(""), 0, "nothing has changed");
            assert_eq!(
                proxy.go_on("ep grows 10.244.1.12:5353 node-1\nep grows 10.244.2.11:5353 node-2"),
                0
            );
            assert_eq!(proxy.go_on("ep moves 10.244.2.11:5353 node-2"), 2);
            assert_eq!(proxy.go_on(""), 0, "already forgotten");
            // What passed by before a Service had the address.
            let _passed = send(&network, "192.168.78.2:53");
            let new = "svc new 10.96.0.54 53/udp external-ip=192.168.78.2";
            assert_eq!(proxy.go_on(new), 0, "still nobody serves");
            assert_eq!(proxy.go_on("ep new 10.244.1.12:5353 node-1"), 1);
            assert_eq!(proxy.go_on("ep new 10.244.2.11:5353 node-2"), 0);
        }
    });
}

#[test]
fn the_kernel_tells_of_the_changed_destinations_connections_alone() {
    network::in_namespaces(
        "stale::the_kernel_tells_of_the_changed_destinations_connections_alone",
        || {
            let network = Network::new();
            let proxy = Proxy::new(
                "svc few 10.96.0.51 53/udp
                 ep few 10.244.1.12:5353 node-1
                 svc many 10.96.0.52 53/udp
                 ep many 10.244.1.12:5353 node-1
                 svc web 10.96.0.53 53/tcp",
            );
            let to = ["10.96.0.51:53"; 3].into_iter().chain(["10.96.0.52:53"; 100]);
            let _sockets: Vec<_> = to.map(|to| send(&network, to)).collect();
            let mut wanted = wanted(&proxy.catalog);
            assert_eq!(conntrack::clean(&wanted).expect("cleaned").seen, 103);
            wanted.retain(|to, _| format!("{to:?}").contains("10.96.0.51"));
            assert_eq!(conntrack::clean(&wanted).expect("cleaned").seen, 3);
        },
    );
}

/// An INIT chunk to `port`, with the checksum that connection tracking looks at.
fn sctp_init(port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    for half in [40_000, port, 0, 0, 0, 0] {
        packet.extend_from_slice(&u16::to_be_bytes(half));
    }
    packet.extend_from_slice(&[1, 0, 0, 20]);
    for word in [0x1234_5678, 65_536, 0x000a_000a, 1] {
        packet.extend_from_slice(&u32::to_be_bytes(word));
    }
    // CRC-32C, bit by bit.
    let crc = packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}

#[test]
fn an_sctp_client_follows_the_endpoints() {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
    network::in_namespaces("stale::an_sctp_client_follows_the_endpoints", || {
        let network = Network::new();
        let mut proxy = Proxy::new(
            "svc assoc 10.96.0.55 3868/sctp\nep assoc 10.244.1.12:3868 node-1
             svc dns 10.96.0.56 3868/udp\nep dns 10.244.1.12:5353 node-1",
        );
        network.from(IpAddr::from([10, 244, 1, 11]), || {
            let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP));
            let raw = raw.expect("a raw socket");
            let to = SocketAddr::from(([10, 96, 0, 55], 0));
            sendto(&raw, &sctp_init(3868), SendFlags::empty(), &to).expect("sent");
        });
        assert_eq!(proxy.go_on(""), 0, "a live association was forgotten");
        assert_eq!(proxy.go_on("ep assoc 10.244.2.11:3868 node-2"), 1);
    });
}
