//! A topology built in code with testcontainers: three members of etcd, two API servers, two nodes.
//! It serves, goes on where one API server dies, and leaves nothing.

use e2e::{
    Answer, Cluster, ContainerLab, Topology, leftovers, missing_docker,
    scenarios::manifests::{at, client_pod, deployment, service},
    wait_for,
};

#[test]
fn a_cluster_on_etcd_goes_on_without_one_of_its_api_servers() {
    if missing_docker() {
        return;
    }
    let topology = Topology::new().etcd(3).api_servers(2).controllers(2);
    let lab = ContainerLab::start(&topology);
    lab.apply(&(deployment("web", 2, "/index.html") + &service("web", "") + &client_pod()));
    let answers = |host: &str| {
        wait_for(&format!("a pod to reach {host}"), || {
            let page = lab.from_pod("client").curl(&format!("http://{host}/hostname.html"));
            if page.code == 0 && page.stdout.starts_with("web-") {
                Ok(())
            } else {
                Err(format!("{page:?}"))
            }
        });
    };
    answers("web");

    lab.member("apiserver-1").kill();
    // Its objects are there, and a new Service is taken, filled, named and programmed.
    lab.apply(&service("later", "").replace("app: later", "app: web"));
    answers("later");
    let ip = lab.lite().run(&["get", "service", "later", "-o", "jsonpath={.spec.clusterIP}"]);
    let to = at(ip.ok().trim(), 80);
    for node in ["worker-1", "worker-2"] {
        wait_for(&format!("{node} to reach the new Service"), || {
            match lab.get(node, to, "/hostname.html") {
                Answer::Http(200, _) => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }
    lab.member("apiserver-1").start();
    wait_for("both API servers behind default/kubernetes", || {
        let seen = lab.lite().run(&[
            "get",
            "endpoints",
            "kubernetes",
            "-o",
            "jsonpath={.subsets[0].addresses[*].ip}",
        ]);
        let mut seen: Vec<&str> = seen.stdout.split_whitespace().collect();
        seen.sort_unstable();
        if seen == lab.api_addresses() { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let stored = lab.etcdctl(&["get", "/registry/services/endpoints/default/later"]).ok();
    assert!(stored.contains("\"kind\":\"Endpoints\""), "{stored}");
    drop(lab);
    assert_eq!(leftovers(), Vec::<String>::new());
}
