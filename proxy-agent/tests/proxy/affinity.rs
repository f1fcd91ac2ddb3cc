//! The end of an endpoint that clients are bound to, however many they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proxy_agent::catalog::Change;
use proxy_agent::dnat::Table;
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::kernel::Traffic;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;

use super::network::{self, Network};
use super::{objects, sockets, table};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 11));
const SERVICE: &str = "svc sticky 10.96.0.40 5353/udp affinity=600";
const ENDPOINTS: [&str; 3] = ["10.244.1.12:5353", "10.244.2.11:5353", "192.168.77.11:5353"];

fn address_of(client: usize) -> IpAddr {
    IpAddr::from([10, 244, 64 + (client / 250) as u8, (client % 250) as u8 + 1])
}

/// Who answers client number `client`, from a new connection.
fn ask(network: &Network, client: usize) -> String {
    network.from(CLIENT, move || {
        let socket = sockets::new_udp(address_of(client)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let to = SocketAddr::from(([10, 96, 0, 40], 5353));
        socket.send_to(b"who", to).expect("sent");
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        answer.split_once(' ').expect("two words").0.to_owned()
    })
}

fn endpoints(which: &[&str]) -> Vec<Change> {
    let mut text = String::new();
    for endpoint in which {
        text += &format!("ep sticky {endpoint} node-1\n");
    }
    objects::changes(&text)
}

/// The traffic of removing the first endpoint, with so many clients bound.
fn removal(network: &Network, clients: usize) -> Traffic {
    cleanup(Family::V4).expect("an empty table");
    let mut catalog = table::catalog_of(objects::changes(SERVICE));
    let mut table =
        Table::new(table::settings(), Netlink::open(Family::V4, TABLE).expect("netlink"));
    let mut go_on = |table: &mut Table<Netlink>, changes: Vec<Change>| {
        changes.into_iter().for_each(|change| catalog.apply(change));
        let dirty = catalog.take_dirty();
        table.sync(&catalog, &dirty).expect("synced");
        while table.needs_sweep() {
            table.sweep().expect("swept");
        }
    };
    go_on(&mut table, endpoints(&ENDPOINTS));
    let former: Vec<String> = (0..clients).map(|client| ask(network, client)).collect();
    for (client, endpoint) in former.iter().enumerate().take(20) {
        assert_eq!(&ask(network, client), endpoint, "client {client} moved");
    }
    let before = table.traffic();
    go_on(&mut table, endpoints(&ENDPOINTS[1..]));
    let after = table.traffic();
    for (client, endpoint) in former.iter().enumerate() {
        let now = ask(network, client);
        if endpoint == ENDPOINTS[0] {
            assert!(ENDPOINTS[1..].contains(&&*now), "client {client}: {now}");
            assert_eq!(ask(network, client), now, "client {client} is not bound");
        } else {
            assert_eq!(&now, endpoint, "client {client} moved");
        }
    }
    Traffic {
        transactions: after.transactions - before.transactions,
        messages: after.messages - before.messages,
        bytes: after.bytes - before.bytes,
    }
}

#[test]
fn affinities_to_a_removed_endpoint_end_at_the_same_cost_for_any_number_of_clients() {
    let name =
        "affinity::affinities_to_a_removed_endpoint_end_at_the_same_cost_for_any_number_of_clients";
    network::in_namespaces(name, || {
        let network = Network::new();
        network.from(CLIENT, || network::ip("route add local 10.244.64.0/20 dev lo"));
        // By a gateway: a neighbour for each client would be more than the kernel keeps for all
        // namespaces of the machine.
        network::ip("route add 10.244.64.0/20 via 10.244.1.11 dev pod-a onlink");
        let none = removal(&network, 0);
        let many = removal(&network, 1_000);
        assert_eq!(none, many);
        assert!(many.messages <= 24, "{many:?}");
    });
}
