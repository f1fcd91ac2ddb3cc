//! The agent where it carries connections itself, and where it is asked why. Never looks
//! at how it does either.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use super::super::network::in_namespaces;
use super::api::Api;
use super::process::{Agent, get, output, set_up_loopback};

const CLUSTER_IP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10)), 80);

/// A Service with one endpoint, which is this node.
fn put_objects(api: &Api) {
    api.put("nodes", json!({"metadata": {"name": "node-1"}, "spec": {}}));
    api.put(
        "services",
        json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
        }),
    );
    api.put(
        "endpointslices",
        json!({
            "metadata": {
                "namespace": "default", "name": "web-1",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["192.168.77.11"], "nodeName": "node-1"}],
        }),
    );
}

fn serve() {
    let listener = TcpListener::bind("192.168.77.11:8080").expect("a free port");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello");
        }
    });
}

fn ask() -> Option<String> {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(CLUSTER_IP).ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn an_agent_in_mode_userspace_carries_until_it_is_stopped() {
    const NAME: &str =
        "operations::carrying::an_agent_in_mode_userspace_carries_until_it_is_stopped";
    in_namespaces(NAME, || {
        set_up_loopback();
        output("ip", "route add 10.96.0.0/16 dev lo");
        serve();
        let api = Api::start();
        put_objects(&api);
        let mut agent = Agent::start(&api, &["--proxy-mode=userspace"]);
        agent.wait_until_ready();
        let answer = agent.wait("an answer", ask);
        assert_eq!(answer, "hello");
        let metrics = get(agent.metrics, "/metrics", "").expect("metrics");
        let refused = r#"kubeproxy_userspace_refused_total{ip_family="IPv4",what="udp_clients"} 0"#;
        assert!(metrics.body.contains(refused), "{}", metrics.body);
        agent.terminate();
        assert!(agent.wait_for_end().success(), "{}", agent.log());
        let left = output("nft", "list ruleset");
        assert!(!left.contains("coracle"), "{left}");
    });
}

#[test]
fn every_mode_that_runs_here_explains_itself() {
    const NAME: &str = "operations::carrying::every_mode_that_runs_here_explains_itself";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        put_objects(&api);
        for (mode, rule) in [
            ("nftables", "map endpoints { 10.96.0.10 . tcp . 80 . 0x0 : "),
            ("iptables", "-t nat -A KUBE-SERVICES "),
            ("userspace", "listener default/web tcp Cluster at 192.168.77.11:"),
        ] {
            let agent = Agent::start(&api, &[&format!("--proxy-mode={mode}")]);
            agent.wait_until_ready();
            let path = "/explain?source=10.244.1.11&destination=10.96.0.10:80&protocol=tcp";
            let answer = get(agent.metrics, path, "*/*").expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            let told: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(told["mode"], mode);
            assert_eq!(told["outcome"], "endpoint");
            assert_eq!(told["endpoints"][0]["address"], "192.168.77.11:8080");
            let rules = told["rules"].as_array().expect("rules");
            let mut rules = rules.iter().filter_map(Value::as_str);
            assert!(rules.any(|line| line.starts_with(rule)), "{told}");
            // What it tells is about the whole cluster: not where probes come from.
            let answer = get(agent.health, path, "*/*").expect("an answer");
            assert_eq!(answer.status, 404, "{}", answer.body);
        }
    });
}
