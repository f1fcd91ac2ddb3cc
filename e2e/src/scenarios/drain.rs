//! Endpoints that end: used as long as they serve and there is no other.
//!
//! Never takes an answer of another pod for one of the pod that ends.

use crate::{Answer, Client, Cluster, wait_for};

use super::manifests::{at, deployment, service};

/// Requests while the pod ends. Each keeps it from ending: it serves until nobody asks.
const REQUESTS: usize = 50;

pub fn last_resort(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s13t");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 1, 0);
    let pod = ns.pods("app=web").remove(0);
    let to = at(&ns.cluster_ip("web"), 80);
    let served = Answer::Http(200, pod.clone());
    wait_for("the pod to answer", || {
        match lab.get("worker-1", to, "/hostname.html") {
            answer if answer == served => Ok(()),
            other => Err(other.to_string()),
        }
    });
    ns.run(&["scale", "deployment", "web", "--replicas=0"]).ok();
    // Out of Endpoints at once, but in the slice as one that ends and serves.
    let mut answers = 0;
    wait_for("the pod to end", || {
        let ending = !ns.get(&["pod", &pod])["metadata"]["deletionTimestamp"].is_null();
        answers += 1;
        match lab.get("worker-1", to, "/hostname.html") {
            answer if answer == served && !ending => Err("it does not end yet".to_owned()),
            answer if answer == served => Ok(()),
            other => panic!("{other} after {answers} requests"),
        }
    });
    let seen = lab.get_many("worker-1", to, "/hostname.html", REQUESTS);
    assert!(seen.iter().all(|answer| *answer == served), "{seen:?}");
    wait_for("the connection to be refused once it is gone", || {
        // Asked through the API only: a request would keep it.
        let gone = ns.run(&["get", "pod", &pod]).code != 0;
        match gone.then(|| lab.get("worker-1", to, "/hostname.html")) {
            Some(Answer::Refused) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
