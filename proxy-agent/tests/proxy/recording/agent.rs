//! The agent with the recording mode among its own, from the API to what is recorded.

use client::program;
use serde_json::json;

use super::wait_for;
use crate::modes::MODES;
use crate::network::in_namespaces;
use crate::operations::api::Api;
use crate::operations::process::{free_address, get, set_up_loopback};

fn slice(address: &str) -> serde_json::Value {
    json!({
        "metadata": {
            "namespace": "default", "name": "web-1",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "nodeName": "node-1"}],
    })
}

#[test]
fn an_agent_with_a_mode_of_the_tests_brings_it_every_route() {
    const NAME: &str = "recording::agent::an_agent_with_a_mode_of_the_tests_brings_it_every_route";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("nodes", json!({"metadata": {"name": "node-1"}, "spec": {}}));
        api.put(
            "services",
            json!({
                "metadata": {"namespace": "default", "name": "web"},
                "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
            }),
        );
        api.put("endpointslices", slice("10.244.1.5"));
        let directory = tempfile::tempdir().expect("a directory");
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig()).expect("written");
        let metrics = free_address();
        let arguments = [
            "proxy-agent",
            "--proxy-mode=recording",
            "--hostname-override=node-1",
            "--cluster-cidr=10.244.0.0/16",
            "--healthz-bind-address=",
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--metrics-bind-address={metrics}"),
        ]
        .map(str::to_owned);
        let agent = std::thread::spawn(move || {
            program::run_with(arguments, |options, stop| {
                proxy_agent::run_with(MODES, options, stop)
            })
        });
        wait_for("10.96.0.10 80 => 10.244.1.5 8080\n");
        api.put("endpointslices", slice("10.244.1.6"));
        wait_for("10.96.0.10 80 => 10.244.1.6 8080\n");

        let mode = get(metrics, "/proxyMode", "").expect("an answer");
        assert_eq!(mode.body, "recording");
        let path = "/explain?source=10.244.1.11&destination=10.96.0.10:80";
        let told = get(metrics, path, "text/plain").expect("an answer");
        assert!(told.body.ends_with("by\n  10.96.0.10 80 => 10.244.1.6 8080\n"), "{}", told.body);
        assert!(!agent.is_finished());
        api.delete("services", "web");
        wait_for("");
    });
}
