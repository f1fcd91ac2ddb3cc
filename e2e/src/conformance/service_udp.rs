//! UDP clients that go on asking from one port while the endpoints come and go.
//!
//! Never lets the client take another port: a new one would hide what is remembered of the old.

use serde_json::json;

use super::{
    Test,
    bench::Bench,
    objects::{UDP_PORT, on, port, server, service_with},
    site::{Site, workers},
};
use crate::{Client, OUTSIDE, scenarios::Background, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_udp_client_of_a_cluster_ip_follows_a_new_pod", cluster_ip),
    ("service_udp_client_of_a_node_port_follows_a_new_pod", node_port),
    ("service_udp_client_before_the_first_endpoint_is_answered", early),
];

/// A client that asks every 20 ms until it is dropped.
struct Asking {
    answers: Box<dyn Iterator<Item = String>>,
    _program: Background,
}

impl Asking {
    fn start(site: &Site, place: &str, to: &str) -> Self {
        let words = [&site.probe(), "ask-udp", to, "20"];
        let mut program = Background::start(site, place, &words);
        Self { answers: Box::new(program.lines()), _program: program }
    }

    /// Waits for an answer whose first word is this.
    #[track_caller]
    fn until(&mut self, wanted: &str) {
        wait_for(&format!("{wanted} to answer"), || {
            let answer = self.answers.next().expect("the client goes on asking");
            if answer.split_whitespace().next() == Some(wanted) { Ok(()) } else { Err(answer) }
        });
    }
}

fn fields(kind: &str) -> serde_json::Value {
    json!({"type": kind, "ports": [port("ask", 7, UDP_PORT, "UDP")]})
}

/// The one pod is replaced by another, then that by a third on the other node.
fn follow(bench: &Bench<'_>, asking: &mut Asking) {
    let [(first, _), (second, _)] = workers(bench.site);
    asking.until("one");
    bench.make_ready(&[on(&first, server("two", "web"))]);
    bench.delete("pod", &["one"]);
    asking.until("two");
    bench.make_ready(&[on(&second, server("three", "web"))]);
    bench.delete("pod", &["two"]);
    asking.until("three");
}

fn cluster_ip(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "udp-ip");
    let node = &workers(site)[0].0;
    let one = on(node, server("one", "web"));
    bench.make_ready(&[service_with("web", fields("ClusterIP")), one]);
    let to = format!("{}:7", bench.ns.cluster_ip("web"));
    follow(&bench, &mut Asking::start(site, node, &to));
}

fn node_port(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "udp-port");
    let [(node, address), _] = workers(site);
    let one = on(&node, server("one", "web"));
    bench.make_ready(&[service_with("web", fields("NodePort")), one]);
    let to = format!("{address}:{}", bench.node_port("web", 0));
    follow(&bench, &mut Asking::start(site, OUTSIDE, &to));
}

fn early(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "udp-early");
    let [(node, address), _] = workers(site);
    bench.make(&[service_with("web", fields("NodePort"))]);
    let inside = format!("{}:7", bench.ns.cluster_ip("web"));
    let outside = format!("{address}:{}", bench.node_port("web", 0));
    let mut asking = [Asking::start(site, &node, &inside), Asking::start(site, OUTSIDE, &outside)];
    for client in &mut asking {
        client.until("none");
    }
    bench.make_ready(&[on(&node, server("one", "web"))]);
    for client in &mut asking {
        client.until("one");
    }
}
