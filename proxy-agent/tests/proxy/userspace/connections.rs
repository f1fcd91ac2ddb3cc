//! TCP through the listeners: turns, affinity, both halves of a connection, limits.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use proxy_agent::mode::Mode;
use proxy_agent::mode::userspace::limits::Limits;

use super::{Agent, NODE, OTHER_POD, OUTSIDE, POD, WEB};
use crate::network::{self, Network, ask_tcp};
use crate::objects;

/// Endpoints of the packet table's network, which answer with their own address.
const THREE: &str = "
    ep web 10.244.1.11:8080 node-1
    ep web 10.244.1.12:8080 node-1
    ep web 10.244.2.11:8080 node-2";
/// Longer than any wait of a test should be.
const PATIENCE: Duration = Duration::from_secs(60);

fn web(options: &str, endpoints: &str) -> String {
    format!("svc web 10.96.0.10 80/tcp {options}\n{endpoints}")
}

/// Who answers a connection from there.
fn ask(network: &Network, from: IpAddr, to: SocketAddr) -> String {
    let answer = network.from(from, move || ask_tcp(to)).expect("an answer");
    let (own, _) = answer.split_once(' ').expect("two addresses");
    own.to_owned()
}

/// A connection from a pod that stays open.
fn connect(network: &Network) -> TcpStream {
    let stream = network.from(POD, || TcpStream::connect(WEB)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Serves connections at a pod's port 7000, one thread each.
fn serve(network: &Network, at: IpAddr, serve: impl Fn(TcpStream) + Copy + Send + 'static) {
    let listener = network.from(at, move || TcpListener::bind((at, 7000))).expect("a free port");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// Sends back what it gets at once, after the address of the endpoint.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn echoed(stream: &mut TcpStream, text: &str) -> io::Result<bool> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == text.as_bytes())
}

#[test]
fn endpoints_take_turns_whoever_asks() {
    let name = "userspace::connections::endpoints_take_turns_whoever_asks";
    network::in_namespaces(name, || {
        let network = Network::new();
        let _agent = Agent::new(Limits::default(), &web("node-port=30010", THREE));
        let node_port = SocketAddr::from((NODE, 30010));
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(ask(&network, POD, WEB));
            answers.push(ask(&network, OUTSIDE, node_port));
            answers.push(ask(&network, NODE, WEB));
            answers.push(ask(&network, OTHER_POD, WEB));
        }
        let turn = ["10.244.1.11:8080", "10.244.1.12:8080", "10.244.2.11:8080"];
        let expected: Vec<&str> = turn.into_iter().cycle().take(answers.len()).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn a_client_stays_with_its_endpoint_until_it_was_away() {
    let name = "userspace::connections::a_client_stays_with_its_endpoint_until_it_was_away";
    network::in_namespaces(name, || {
        let network = Network::new();
        let mut agent = Agent::new(Limits::default(), &web("affinity=60", THREE));
        let first = ask(&network, POD, WEB);
        let other = ask(&network, OTHER_POD, WEB);
        assert_ne!(first, other, "another client has its own turn");
        for _ in 0..5 {
            assert_eq!(ask(&network, POD, WEB), first);
            assert_eq!(ask(&network, OTHER_POD, WEB), other);
        }
        agent.apply(objects::changes("svc web 10.96.0.10 80/tcp affinity=1"));
        // It stays away ever longer, until it meets another one.
        let mut pause = Duration::from_millis(1_200);
        while ask(&network, POD, WEB) == first {
            assert!(pause < PATIENCE, "away for so long, and still {first}");
            std::thread::sleep(pause);
            pause = pause * 3 / 2;
        }
    });
}

#[test]
fn each_half_of_a_connection_ends_by_itself() {
    let name = "userspace::connections::each_half_of_a_connection_ends_by_itself";
    network::in_namespaces(name, || {
        let network = Network::new();
        // Says hello and no more, hears the client to its end, then says how much it was.
        serve(&network, POD, |mut stream| {
            let mut text = Vec::new();
            let read = stream.read_to_end(&mut text);
            let _ = write!(stream, "{} {}", read.is_ok(), text.len());
        });
        let _agent = Agent::new(Limits::default(), &web("", "ep web 10.244.1.11:7000 node-1"));
        let mut stream = connect(&network);
        // More than what is on its way at a time.
        let text = vec![b'x'; 3 << 20];
        stream.write_all(&text).expect("written");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, format!("true {}", text.len()));
    });
}

#[test]
fn the_endpoints_half_may_end_first() {
    let name = "userspace::connections::the_endpoints_half_may_end_first";
    network::in_namespaces(name, || {
        let network = Network::new();
        serve(&network, POD, |mut stream| {
            let _ = stream.write_all(b"hello");
            let _ = stream.shutdown(Shutdown::Write);
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            if text == "told" {
                // The connection's other end sees a reset if anything is unread.
                let _ = TcpStream::connect((OTHER_POD, 7000));
            }
        });
        let told =
            network.from(OTHER_POD, || TcpListener::bind((OTHER_POD, 7000))).expect("a free port");
        let _agent = Agent::new(Limits::default(), &web("", "ep web 10.244.1.11:7000 node-1"));
        let mut stream = connect(&network);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, "hello");
        stream.write_all(b"told").expect("the other half is open");
        drop(stream);
        told.accept().expect("the endpoint heard it all");
    });
}

#[test]
fn a_stream_that_breaks_is_not_taken_for_a_whole_one() {
    let name = "userspace::connections::a_stream_that_breaks_is_not_taken_for_a_whole_one";
    network::in_namespaces(name, || {
        let network = Network::new();
        serve(&network, POD, |mut stream| {
            let _ = stream.write_all(b"half of it");
            let mut first = [0; 1];
            let _ = stream.read_exact(&mut first);
            // Closed with something unread: a reset.
        });
        let _agent = Agent::new(Limits::default(), &web("", "ep web 10.244.1.11:7000 node-1"));
        let mut stream = connect(&network);
        stream.write_all(b"ab").expect("written");
        let mut answer = String::new();
        let error = stream.read_to_string(&mut answer).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_removed_endpoint_keeps_old_connections_and_gets_no_new_ones() {
    let name =
        "userspace::connections::a_removed_endpoint_keeps_old_connections_and_gets_no_new_ones";
    network::in_namespaces(name, || {
        let network = Network::new();
        serve(&network, POD, echo);
        let mut agent = Agent::new(Limits::default(), &web("", "ep web 10.244.1.11:7000 node-1"));
        let mut old = connect(&network);
        assert!(echoed(&mut old, "before").expect("echoed"));
        let gone = proxy_agent::catalog::Change::SliceGone(proxy_agent::catalog::ServiceName {
            namespace: "default".to_owned(),
            name: "web-a-7000".to_owned(),
        });
        let mut changes = objects::changes("ep web 10.244.2.11:8080 node-2");
        changes.push(gone.clone());
        agent.apply(changes);
        for _ in 0..4 {
            assert_eq!(ask(&network, OUTSIDE, WEB), "10.244.2.11:8080");
        }
        assert!(echoed(&mut old, "after").expect("echoed"));
        agent.apply(vec![proxy_agent::catalog::Change::SliceGone(
            proxy_agent::catalog::ServiceName {
                namespace: "default".to_owned(),
                name: "web-a-8080".to_owned(),
            },
        )]);
        let refused = network.from(POD, || TcpStream::connect(WEB)).expect_err("nobody serves");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(echoed(&mut old, "without a listener").expect("echoed"));
    });
}

#[test]
fn an_endpoint_that_does_not_answer_is_passed_over() {
    let name = "userspace::connections::an_endpoint_that_does_not_answer_is_passed_over";
    network::in_namespaces(name, || {
        let network = Network::new();
        let endpoints = "
            ep web 10.244.1.11:9999 node-1
            ep web 10.244.1.12:8080 node-1";
        let mut agent = Agent::new(Limits::default(), &web("affinity=60", endpoints));
        for _ in 0..3 {
            assert_eq!(ask(&network, POD, WEB), "10.244.1.12:8080");
        }
        agent.apply(vec![proxy_agent::catalog::Change::SliceGone(
            proxy_agent::catalog::ServiceName {
                namespace: "default".to_owned(),
                name: "web-a-8080".to_owned(),
            },
        )]);
        let answer = network.from(POD, || ask_tcp(WEB));
        assert!(answer.is_err(), "nobody is there: {answer:?}");
    });
}

#[test]
fn connections_above_the_limit_are_reset_and_counted() {
    let name = "userspace::connections::connections_above_the_limit_are_reset_and_counted";
    network::in_namespaces(name, || {
        let network = Network::new();
        serve(&network, POD, echo);
        let limits = Limits { connections: 2, ..Limits::default() };
        let agent = Agent::new(limits, &web("", "ep web 10.244.1.11:7000 node-1"));
        let mut held = [connect(&network), connect(&network)];
        for stream in &mut held {
            assert!(echoed(stream, "held").expect("echoed"));
        }
        let mut third = connect(&network);
        let error = third.read(&mut [0]).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(agent.mode.refusals()[0], ("tcp_connections", 1));
        drop(held);
        let again = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            echoed(&mut connect(&network), "again").is_ok()
        });
        assert!(again, "places are never free again");
    });
}

#[test]
fn nobody_gets_to_a_listener_past_the_rules() {
    let name = "userspace::connections::nobody_gets_to_a_listener_past_the_rules";
    network::in_namespaces(name, || {
        let network = Network::new();
        let agent = Agent::new(Limits::default(), &web("", THREE));
        let (_, port) = agent.mode.ports().next().expect("a listener");
        for from in [POD, OUTSIDE, NODE] {
            let error =
                network.from(from, move || TcpStream::connect((NODE, port))).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{from}");
        }
        assert_eq!(ask(&network, POD, WEB), "10.244.1.11:8080");
    });
}
