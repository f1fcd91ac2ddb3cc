//! S5: `sessionAffinity: ClientIP`.

use std::{collections::BTreeSet, time::Duration};

use crate::{Answer, Client, Cluster, Namespace, wait_at_pace, wait_for};

use super::manifests::{at, deployment, service};

/// Requests of one client; without affinity, one pod of three answers all of them once in 10^9.
const REQUESTS: usize = 20;
/// The short timeout, in seconds.
const TIMEOUT_S: u64 = 2;

fn seen(lab: &dyn Cluster, place: &str, ns: &Namespace) -> BTreeSet<String> {
    let answers = lab.get_many(place, at(&ns.cluster_ip("web"), 80), "/hostname.html", REQUESTS);
    let name = |answer: Answer| match answer {
        Answer::Http(200, name) => name,
        other => panic!("{place} got {other}"),
    };
    answers.into_iter().map(name).collect()
}

/// S5: one client always meets one pod, and any of them once affinity is off.
pub fn sticky(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s05");
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", "sessionAffinity: ClientIP")));
    ns.wait_endpoints("web", 3, 0);
    let service = ns.get(&["service", "web"]);
    assert_eq!(service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
    for place in &lab.node_names() {
        wait_for(&format!("{place} to be remembered"), || {
            let pods = seen(lab, place, &ns);
            if pods.len() == 1 { Ok(()) } else { Err(format!("{pods:?}")) }
        });
        let first = seen(lab, place, &ns);
        assert_eq!(seen(lab, place, &ns), first, "{place} stays with its pod");
    }
    ns.run(&["patch", "service", "web", "-p", r#"{"spec":{"sessionAffinity":"None"}}"#]).ok();
    wait_for("all pods to answer again", || {
        let pods = seen(lab, "worker-1", &ns);
        if pods.len() == 3 { Ok(()) } else { Err(format!("{pods:?}")) }
    });
}

/// S5: what is remembered is forgotten when it was not used for the timeout.
pub fn timeout(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s05t");
    let affinity = format!(
        "sessionAffinity: ClientIP\nsessionAffinityConfig: {{clientIP: {{timeoutSeconds: {TIMEOUT_S}}}}}"
    );
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", &affinity)));
    ns.wait_endpoints("web", 3, 0);
    let mut met = BTreeSet::new();
    let unused = Duration::from_secs(TIMEOUT_S + 1);
    wait_at_pace("the choice to be forgotten and another pod met", unused, || {
        met.extend(seen(lab, "worker-1", &ns));
        if met.len() > 1 { Ok(()) } else { Err(format!("{met:?}")) }
    });
}
