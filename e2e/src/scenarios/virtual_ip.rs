//! S10, S14, S16: what a cluster IP is and is not, and how pods learn of it.

use crate::{Answer, Client, Cluster, wait_for};

use super::manifests::{at, client_pod, deployment, service};

pub fn api_service(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s10");
    let get = |kind| {
        let text = client.run(&["-n", "default", "get", kind, "kubernetes", "-o", "json"]).ok();
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let (service, endpoints) = (get("service"), get("endpoints"));
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    assert_eq!(endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"], "true");
    let addresses = endpoints["subsets"][0]["addresses"].as_array();
    let mut addresses: Vec<&str> =
        addresses.into_iter().flatten().filter_map(|address| address["ip"].as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, lab.api_addresses());
    ns.apply(&client_pod());
    ns.wait_ready("client");
    let url = "https://10.96.0.1/version";
    let version = ns.exec("client", &["curl", "-sSk", "--max-time", "5", url]).ok();
    assert!(version.contains("gitVersion"), "{version}");
}

pub fn environment(_lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s14");
    ns.apply(
        "apiVersion: v1
kind: Service
metadata:
  name: redis-master
spec:
  selector: {app: redis}
  ports:
  - {port: 6379}
",
    );
    ns.apply(&client_pod());
    ns.wait_ready("client");
    let environment = ns.exec("client", &["env"]).ok_lines();
    let ip = ns.cluster_ip("redis-master");
    for wanted in [
        format!("REDIS_MASTER_SERVICE_HOST={ip}"),
        "REDIS_MASTER_SERVICE_PORT=6379".to_owned(),
        format!("REDIS_MASTER_PORT=tcp://{ip}:6379"),
        format!("REDIS_MASTER_PORT_6379_TCP=tcp://{ip}:6379"),
        "REDIS_MASTER_PORT_6379_TCP_PROTO=tcp".to_owned(),
        "REDIS_MASTER_PORT_6379_TCP_PORT=6379".to_owned(),
        format!("REDIS_MASTER_PORT_6379_TCP_ADDR={ip}"),
        "KUBERNETES_SERVICE_HOST=10.96.0.1".to_owned(),
        "KUBERNETES_SERVICE_PORT=443".to_owned(),
    ] {
        assert!(environment.contains(&wanted), "{wanted} is missing in {environment:#?}");
    }
}

pub fn virtual_only(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s16");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 1, 0);
    let ip = ns.cluster_ip("web");
    wait_for("the Service's port to answer", || match lab.get("worker-1", at(&ip, 80), "/") {
        Answer::Http(200, _) => Ok(()),
        other => Err(other.to_string()),
    });
    let other_port = lab.get("worker-1", at(&ip, 81), "/");
    assert!(!matches!(other_port, Answer::Http(..)), "port 81 answered {other_port}");
    if !crate::missing_tool("ping", "iputils-ping") {
        let ping = lab.exec("worker-1", &["ping", "-c", "1", "-W", "1", &ip]);
        assert_ne!(ping.code, 0, "a cluster IP answered a ping: {ping:?}");
    }
}
