//! A UDP client that keeps its port goes on with an endpoint that is there.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use proxy_agent::conntrack::{self, Wanted};
use proxy_agent::mode::Mode;
use proxy_agent::mode::nftables::Table;
use proxy_agent::mode::nftables::netlink::Netlink;
use proxy_agent::model::{Change, Family, Model};

use super::network::{self, Network};
use super::{objects, table};

fn wanted(model: &Model) -> Wanted {
    let endpoints = |to| {
        model
            .routes(to)
            .map(|routes| routes.inside.endpoints.iter().copied().collect())
    };
    model
        .destinations()
        .filter_map(|to| Some((to.clone(), endpoints(to)?)))
        .collect()
}

#[test]
fn a_udp_client_follows_the_endpoints() {
    network::in_namespaces("stale::a_udp_client_follows_the_endpoints", || {
        let network = Network::new();
        let mut model = table::model_of(objects::changes("svc dns 10.96.0.22 53/udp"));
        let mut table = Table::new(
            table::settings(),
            Netlink::open(Family::V4).expect("netlink"),
        );
        let mut go_on = |changes: Vec<Change>| {
            changes.into_iter().for_each(|change| model.apply(change));
            let dirty = model.take_dirty();
            table.sync(&model, &dirty).expect("synced");
            conntrack::clean(&wanted(&model)).expect("cleaned")
        };
        go_on(Vec::new());
        let client = network.from(IpAddr::from([10, 244, 1, 11]), || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .expect("a timeout");
            socket
        });
        let ask = || {
            client
                .send_to(b"who", SocketAddr::from(([10, 96, 0, 22], 53)))
                .ok()?;
            let mut answer = [0; 64];
            let (length, _) = client.recv_from(&mut answer).ok()?;
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            answer.split_once(' ').map(|(own, _)| own.to_owned())
        };
        assert_eq!(ask(), None, "nobody serves");
        go_on(objects::changes("ep dns 10.244.1.12:5353 node-1"));
        assert_eq!(ask().as_deref(), Some("10.244.1.12:5353"));
        assert_eq!(go_on(Vec::new()), 0, "a live connection was forgotten");
        assert_eq!(go_on(objects::changes("ep dns 10.244.2.11:5353 node-2")), 1);
        assert_eq!(ask().as_deref(), Some("10.244.2.11:5353"));
    });
}
