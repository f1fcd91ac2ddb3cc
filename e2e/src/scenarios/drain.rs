//! Endpoints that end: used as long as they serve and there is no other.

use crate::{Answer, Client, Cluster, wait_for};

use super::background::Background;
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
    wait_for("the pod to answer", || match lab.get("worker-1", to, "/hostname.html") {
        answer if answer == served => Ok(()),
        other => Err(other.to_string()),
    });
    // Asked all the while: it serves until nobody asks.
    let words = [&lab.probe(), "ask", &to.to_string(), "/hostname.html", "20", "2000"];
    let mut asking = Background::start(lab, "worker-1", &words);
    let mut answers = asking.lines();
    let mut is_served = || {
        let answer = answers.next().unwrap_or_default();
        assert_eq!(answer, served.to_string());
    };
    is_served();
    ns.run(&["scale", "deployment", "web", "--replicas=0"]).ok();
    // Out of Endpoints at once, but in the slice as one that ends and serves.
    wait_for("the pod to end", || {
        is_served();
        match ns.get(&["pod", &pod])["metadata"]["deletionTimestamp"].as_str() {
            Some(_) => Ok(()),
            None => Err("it does not end yet".to_owned()),
        }
    });
    (0..REQUESTS).for_each(|_| is_served());
    drop(asking);
    wait_for("the connection to be refused once it is gone", || {
        // Asked through the API only: a request would keep it.
        let gone = ns.run(&["get", "pod", &pod]).code != 0;
        match gone.then(|| lab.get("worker-1", to, "/hostname.html")) {
            Some(Answer::Refused) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
