//! `healthCheckNodePort` as a load balancer sees it.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use super::super::network::in_namespaces;
use super::api::Api;
use super::process::{Agent, Answer, get, set_up_loopback};

const NODE: [u8; 4] = [192, 168, 77, 11];

fn service(name: &str, port: u16) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": port,
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
    })
}

/// Two endpoints here, one of which terminates if `leaving`, and one elsewhere.
fn slice(ready: usize) -> Value {
    let endpoint = |address: &str, node: &str, ready: bool| {
        json!({
            "addresses": [address], "nodeName": node,
            "conditions": {"ready": ready, "serving": true, "terminating": !ready},
        })
    };
    json!({
        "metadata": {
            "namespace": "default", "name": "edge-1",
            "labels": {"kubernetes.io/service-name": "edge"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            endpoint("10.244.1.5", "node-1", ready > 0),
            endpoint("10.244.1.6", "node-1", ready > 1),
            endpoint("10.244.2.5", "node-2", true),
        ],
    })
}

fn check(agent: &Agent, at: SocketAddr, status: u16, endpoints: usize) -> Answer {
    let weight = format!("x-load-balancing-endpoint-weight: {endpoints}");
    let answer = agent.wait(&format!("{status} with {endpoints} at {at}"), || {
        get(at, "/", "").filter(|a| a.status == status && a.headers.contains(&weight))
    });
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(
        body,
        json!({
            "service": {"namespace": "default", "name": "edge"},
            "localEndpoints": endpoints,
            "serviceProxyHealthy": true,
        })
    );
    answer
}

#[test]
fn a_load_balancer_learns_where_endpoints_are() {
    const NAME: &str = "operations::health_check::a_load_balancer_learns_where_endpoints_are";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("services", service("edge", 32_100));
        api.put("endpointslices", slice(2));
        let agent = Agent::start(&api, &[]);
        let first = SocketAddr::from((NODE, 32_100));
        let answer = check(&agent, first, 200, 2);
        assert!(answer.headers.contains("content-type: application/json"));
        assert!(answer.headers.contains("x-content-type-options: nosniff"));
        check(&agent, ([127, 0, 0, 1], 32_100).into(), 200, 2);

        // Who terminates still serves, and is counted no more.
        api.put("endpointslices", slice(1));
        check(&agent, first, 200, 1);
        api.put("endpointslices", slice(0));
        check(&agent, first, 503, 0);
        api.delete("endpointslices", "edge-1");
        check(&agent, first, 503, 0);

        // Another port: the former one is closed.
        api.put("services", service("edge", 32_101));
        check(&agent, (NODE, 32_101).into(), 503, 0);
        assert!(get(first, "/", "").is_none());
        api.delete("services", "edge");
        agent.wait("the port to be closed", || {
            get((NODE, 32_101).into(), "/", "").is_none().then_some(())
        });
        assert_eq!(api.events(), Vec::<Value>::new());
    });
}

#[test]
fn a_port_in_use_is_said_and_tried_again() {
    const NAME: &str = "operations::health_check::a_port_in_use_is_said_and_tried_again";
    in_namespaces(NAME, || {
        set_up_loopback();
        let at = SocketAddr::from((NODE, 32_100));
        let other = TcpListener::bind(at).expect("a free port");
        let api = Api::start();
        api.put("services", service("edge", 32_100));
        api.put("endpointslices", slice(2));
        let agent = Agent::start(&api, &[]);
        let event = agent.wait("an Event", || api.events().into_iter().next());
        let expected = json!({
            "type": "Warning",
            "reason": "FailedToStartServiceHealthcheck",
            "reportingComponent": "kube-proxy",
            "reportingInstance": "node-1",
            "source": {"component": "kube-proxy", "host": "node-1"},
            "count": 1,
            "involvedObject": {
                "apiVersion": "v1", "kind": "Service", "namespace": "default",
                "name": "edge", "uid": "uid-of-\"edge\"",
            },
        });
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(&event[field], value, "{field}");
        }
        let note = event["message"].as_str().expect("a message");
        assert!(note.contains("node-1") && note.contains("32100"), "{note}");
        drop(other);
        check(&agent, at, 200, 2);
    });
}

#[test]
fn only_the_addresses_of_node_ports_are_listened_on() {
    const NAME: &str = "operations::health_check::only_the_addresses_of_node_ports_are_listened_on";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("services", service("edge", 32_100));
        api.put("endpointslices", slice(2));
        let agent = Agent::start(&api, &["--nodeport-addresses=192.168.77.0/24"]);
        check(&agent, (NODE, 32_100).into(), 200, 2);
        assert!(get(([127, 0, 0, 1], 32_100).into(), "/", "").is_none());
    });
}
