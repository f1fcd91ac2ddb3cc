//! UDP through the listeners: whose answers are whose, and when a client is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use proxy_agent::conntrack;
use proxy_agent::mode::Mode;
use proxy_agent::mode::userspace::limits::Limits;
use proxy_agent::routes::{Destination, Protocol, Target};

use super::{Agent, OTHER_POD, POD};
use crate::network::{self, Network};
use crate::objects;

const DNS: &str = "
    svc dns 10.96.0.22 53/udp
    ep dns 10.244.1.12:5353 node-1
    ep dns 10.244.2.11:5353 node-2";
const TO: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 22)), 53);
const FIRST: &str = "10.244.1.12:5353";
const SECOND: &str = "10.244.2.11:5353";

/// A client that keeps its port.
fn client(network: &Network, at: IpAddr) -> UdpSocket {
    let socket = network.from(at, move || UdpSocket::bind((at, 0))).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket
}

/// Which endpoint answers.
fn ask(client: &UdpSocket) -> Option<String> {
    client.send_to(b"who", TO).ok()?;
    let mut answer = [0; 64];
    let (length, from) = client.recv_from(&mut answer).ok()?;
    assert_eq!(from, TO, "an answer that the client does not know");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    Some(answer.split_once(' ')?.0.to_owned())
}

#[test]
fn each_client_has_an_endpoint_in_turn() {
    let name = "userspace::datagrams::each_client_has_an_endpoint_in_turn";
    network::in_namespaces(name, || {
        let network = Network::new();
        let _agent = Agent::new(Limits::default(), DNS);
        let clients = [client(&network, POD), client(&network, OTHER_POD), client(&network, POD)];
        for _ in 0..3 {
            for (client, endpoint) in clients.iter().zip([FIRST, SECOND, FIRST]) {
                assert_eq!(ask(client).as_deref(), Some(endpoint));
            }
        }
    });
}

#[test]
fn a_silent_client_is_forgotten() {
    let name = "userspace::datagrams::a_silent_client_is_forgotten";
    network::in_namespaces(name, || {
        let network = Network::new();
        let limits = Limits { udp_idle: Duration::from_millis(100), ..Limits::default() };
        let _agent = Agent::new(limits, DNS);
        let client = client(&network, POD);
        assert_eq!(ask(&client).as_deref(), Some(FIRST));
        // It stays silent ever longer, until it meets another one: one that is never forgotten
        // never does.
        let mut silence = Duration::from_millis(100);
        while ask(&client).as_deref() != Some(SECOND) {
            assert!(silence < Duration::from_secs(60), "always {FIRST}");
            std::thread::sleep(silence);
            silence = silence * 3 / 2;
        }
    });
}

#[test]
fn a_client_follows_the_endpoints() {
    let name = "userspace::datagrams::a_client_follows_the_endpoints";
    network::in_namespaces(name, || {
        let network = Network::new();
        let mut agent = Agent::new(Limits::default(), DNS);
        let client = client(&network, POD);
        assert_eq!(ask(&client).as_deref(), Some(FIRST));
        agent.apply(objects::changes("ep dns 10.244.2.11:5353 node-2"));
        assert_eq!(ask(&client).as_deref(), Some(SECOND));
        agent.apply(objects::changes(DNS));
        assert_eq!(ask(&client).as_deref(), Some(SECOND), "it serves on");
    });
}

#[test]
fn a_live_client_is_not_taken_for_a_stale_one() {
    let name = "userspace::datagrams::a_live_client_is_not_taken_for_a_stale_one";
    network::in_namespaces(name, || {
        let network = Network::new();
        let agent = Agent::new(Limits::default(), DNS);
        let client = client(&network, POD);
        assert_eq!(ask(&client).as_deref(), Some(FIRST));
        let to =
            Destination::Address { address: TO.ip(), protocol: Protocol::Udp, port: TO.port() };
        let targets = agent.mode.tracked_as(&to).expect("a listener");
        let wanted = BTreeMap::from([(to.clone(), targets)]);
        assert_eq!(conntrack::clean(&wanted).expect("looked").forgotten, 0);
        // As the other modes have it, the listener would be no endpoint.
        let endpoint = |text: &str| {
            let at: SocketAddr = text.parse().expect("an endpoint");
            Target { address: at.ip(), port: at.port() }
        };
        let endpoints = BTreeSet::from([endpoint(FIRST), endpoint(SECOND)]);
        let wanted = BTreeMap::from([(to, endpoints)]);
        assert_eq!(conntrack::clean(&wanted).expect("looked").forgotten, 1);
    });
}

#[test]
fn clients_above_the_limit_are_not_answered_and_counted() {
    let name = "userspace::datagrams::clients_above_the_limit_are_not_answered_and_counted";
    network::in_namespaces(name, || {
        let network = Network::new();
        let limits = Limits { udp_clients: 1, ..Limits::default() };
        let agent = Agent::new(limits, DNS);
        let (first, second) = (client(&network, POD), client(&network, POD));
        assert_eq!(ask(&first).as_deref(), Some(FIRST));
        second.send_to(b"who", TO).expect("sent");
        let counted = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            agent.mode.refusals()[1] == ("udp_clients", 1)
        });
        assert!(counted, "nothing was refused");
        second.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        assert!(second.recv(&mut [0; 64]).is_err(), "and yet answered");
        assert_eq!(ask(&first).as_deref(), Some(FIRST));
    });
}
