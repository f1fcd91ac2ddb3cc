//! S18: what the mode programmed, looked at with the mode's own tool; and the order in which the
//! mode of userspace takes endpoints.

use std::collections::BTreeSet;

use e2e::{
    Answer, Client, Cluster, Namespace,
    scenarios::manifests::{at, deployment, service},
    wait_for,
};

const NODE: &str = "worker-1";

/// A Service `web` over so many pods: its cluster IP and its endpoints.
fn web(client: &Client, replicas: usize) -> (Namespace, String, Vec<String>) {
    let ns = client.namespace("s18");
    ns.apply(&(deployment("web", replicas, "/index.html") + &service("web", "")));
    let endpoints = ns.wait_endpoints("web", replicas, 0);
    let ip = ns.cluster_ip("web");
    (ns, ip, endpoints)
}

pub fn chains(lab: &dyn Cluster, client: &Client) {
    let (_, ip, endpoints) = web(client, 4);
    wait_for("the chains of four endpoints", || {
        let saved = lab.exec(NODE, &["iptables-save", "-t", "nat"]).ok();
        follow(&saved, &ip, &endpoints).map_err(|error| format!("{error} in\n{saved}"))
    });
}

/// From KUBE-SERVICES by KUBE-SVC-… to KUBE-SEP-… and the DNAT, as a packet goes.
fn follow(saved: &str, ip: &str, endpoints: &[String]) -> Result<(), String> {
    let rules_of = |chain: &str| -> Vec<&str> {
        let head = format!("-A {chain} ");
        saved.lines().filter(|rule| rule.starts_with(&head)).collect()
    };
    let after = |rule: &str, word: &str| -> Option<String> {
        let (_, rest) = rule.split_once(&format!("{word} "))?;
        Some(rest.split(' ').next()?.to_owned())
    };
    let of_service = rules_of("KUBE-SERVICES")
        .into_iter()
        .filter(|rule| rule.contains(&format!("-d {ip}/32 ")) && rule.contains("--dport 80 "))
        .find_map(|rule| after(rule, "-j").filter(|chain| chain.starts_with("KUBE-SVC-")))
        .ok_or("no rule of KUBE-SERVICES leads to a KUBE-SVC")?;
    let branches: Vec<(Option<String>, String)> = rules_of(&of_service)
        .into_iter()
        .filter_map(|rule| {
            let random = rule.contains("--mode random");
            let chain = after(rule, "-j").filter(|chain| chain.starts_with("KUBE-SEP-"))?;
            Some((after(rule, "--probability").filter(|_| random), chain))
        })
        .collect();
    let shares: Vec<String> = branches
        .iter()
        .map(|(share, _)| {
            let share = share.as_deref().and_then(|text| text.parse::<f64>().ok());
            share.map_or("rest".to_owned(), |share| format!("{share:.3}"))
        })
        .collect();
    if shares != ["0.250", "0.333", "0.500", "rest"] {
        return Err(format!("{of_service} has the shares {shares:?}"));
    }
    let met: BTreeSet<String> = branches
        .iter()
        .flat_map(|(_, chain)| rules_of(chain))
        .filter(|rule| rule.contains("-j DNAT"))
        .filter_map(|rule| after(rule, "--to-destination"))
        .collect();
    let wanted: BTreeSet<String> = endpoints.iter().map(|ip| format!("{ip}:80")).collect();
    if met == wanted { Ok(()) } else { Err(format!("{met:?} instead of {wanted:?}")) }
}

pub fn nftables_table(lab: &dyn Cluster, client: &Client) {
    let (_, ip, endpoints) = web(client, 4);
    wait_for("the elements of four endpoints", || {
        let table = lab.exec(NODE, &["nft", "list", "table", "ip", "coracle-proxy"]).ok();
        let missing: Vec<&String> = endpoints
            .iter()
            .filter(|endpoint| {
                let mut elements =
                    table.lines().filter(|line| line.contains(&format!("{ip} . tcp . 80 . ")));
                !elements.any(|line| line.contains(&format!(": {endpoint} . 80")))
            })
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} are missing in\n{table}"))
        }
    });
}

pub fn userspace_table(lab: &dyn Cluster, client: &Client) {
    let (_, ip, _) = web(client, 4);
    wait_for("the cluster IP in the table of listeners", || {
        let words = ["nft", "list", "table", "ip", "coracle-userspace"];
        let table = lab.exec(NODE, &words).ok();
        if table.contains(&format!("{ip} . tcp . 80")) { Ok(()) } else { Err(table) }
    });
}

pub fn in_turn(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s02u");
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 3, 0);
    let to = at(&ns.cluster_ip("web"), 80);
    let names = |count: usize| -> Vec<String> {
        let answers = lab.get_many(NODE, to, "/hostname.html", count);
        answers.iter().map(Answer::to_string).collect()
    };
    wait_for("all three to answer", || {
        let seen: BTreeSet<String> = names(3).into_iter().collect();
        let answered = seen.iter().all(|answer| answer.starts_with("200 "));
        if seen.len() == 3 && answered { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let seen = names(30);
    let turns: Vec<&[String]> = seen.chunks(3).collect();
    assert!(turns.iter().all(|turn| *turn == turns[0]), "{seen:?}");
    assert_eq!(turns[0].iter().collect::<BTreeSet<_>>().len(), 3, "{seen:?}");
}
