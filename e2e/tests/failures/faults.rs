//! The faults, and how it is seen that the cluster works again.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use e2e::{
    Answer, Cluster, ContainerLab, Output, Request,
    scenarios::{
        Background,
        manifests::{at, deployment, service},
    },
    wait_for,
};
use serde_json::Value;

use crate::{table::Row, writer::Writer};

/// A node says that it lives every 10 s.
pub const NODE_GRACE_S: u64 = 20;
/// Where the client of the Service is, and from where it is seen that all works: no fault hits it,
/// but those of the proxy.
const CLIENT_NODE: &str = "worker-1";
const PAUSE_MS: u64 = 20;
/// A request without an answer by then has failed.
const TIMEOUT_MS: u64 = 1_000;
/// Writes and answers that must come before a fault, and after it.
const STEADY: usize = 20;
/// Queries in a row that must be answered: each meets one of the DNS servers.
const QUERIES: usize = 6;

/// What is hit.
#[derive(Clone, Copy)]
pub enum Target {
    /// The member of etcd that leads.
    EtcdLeader,
    /// One of two API servers.
    ApiServer,
    /// The controllers that lead, both programs.
    Controllers,
    /// A node with a pod of the Service.
    Node,
    /// The proxy on the client's node.
    Proxy,
    /// One of two servers of the cluster's DNS.
    Dns,
}

/// How.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It ends without a warning.
    Killed,
    /// It stands still, its connections open.
    Paused,
}

/// One fault.
pub struct Fault(Target, Way);

/// Every fault that is tried, in this order.
pub const ALL: &[Fault] = &[
    Fault(Target::EtcdLeader, Way::Killed),
    Fault(Target::EtcdLeader, Way::Paused),
    Fault(Target::ApiServer, Way::Killed),
    Fault(Target::ApiServer, Way::Paused),
    Fault(Target::Controllers, Way::Killed),
    Fault(Target::Controllers, Way::Paused),
    Fault(Target::Node, Way::Killed),
    Fault(Target::Node, Way::Paused),
    Fault(Target::Proxy, Way::Killed),
    Fault(Target::Proxy, Way::Paused),
    Fault(Target::Dns, Way::Killed),
    Fault(Target::Dns, Way::Paused),
];

/// A Service over a pod on every node.
pub fn prepare(lab: &ContainerLab) {
    lab.apply(&(deployment("web", 6, "/index.html") + &service("web", "")));
    wait_for("six pods", || steady(lab, "web"));
}

/// The number of ready endpoints; all of them must be.
fn steady(lab: &ContainerLab, name: &str) -> Result<(), String> {
    let seen = lab.lite().run(&["get", "endpoints", name, "-o", "json"]);
    let endpoints: Value = serde_json::from_str(&seen.stdout).unwrap_or_default();
    let ready = endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
    if ready == 6 { Ok(()) } else { Err(format!("{ready} endpoints\n{}", pods(lab))) }
}

fn pods(lab: &ContainerLab) -> String {
    lab.lite().run(&["get", "pods", "-o", "wide"]).stdout
}

impl Fault {
    /// The test's name.
    pub fn name(&self) -> String {
        let target = match self.0 {
            Target::EtcdLeader => "etcd_leader",
            Target::ApiServer => "api_server",
            Target::Controllers => "leading_controllers",
            Target::Node => "node",
            Target::Proxy => "proxy",
            Target::Dns => "dns_server",
        };
        let way = if self.1 == Way::Killed { "killed" } else { "paused" };
        format!("{target}_{way}")
    }

    /// Does it, waits until all works, and mends it.
    pub fn try_out(&self, lab: &ContainerLab) -> Row {
        let round = self.name().replace('_', "-");
        let writer = Writer::start(&lab.kubeconfig(), &round);
        let client = Client::start(lab);
        wait_for("the writer and the client to be at it", || {
            enough(writer.count(), client.answers())
        });
        let victims = self.victims(lab);
        let began = Instant::now();
        victims.iter().for_each(|victim| self.hit(lab, victim));
        works_again(lab, self.observer(), &round);
        let healed = began.elapsed();
        let (written, answered) = (writer.count(), client.answers());
        wait_for("the writer and the client to go on", || {
            enough(writer.count() - written, client.answers() - answered)
        });
        victims.iter().for_each(|victim| self.mend(lab, victim));
        wait_for("all nodes to be Ready and all pods to be endpoints", || {
            nodes_ready(lab)?;
            steady(lab, "web")
        });
        let (writes, lost, write_gap) = writer.end();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let (requests, failed, request_gap) = client.end();
        Row {
            fault: self.name().replace('_', " "),
            writes: (writes, lost.len()),
            write_gap,
            requests: (requests, failed),
            request_gap,
            healed,
        }
    }

    /// From where it is seen that all works. A node whose proxy stands still has its rules and gets
    /// no new ones, as with a stock proxy, which has no liveness probe either.
    fn observer(&self) -> &'static str {
        match (self.0, self.1) {
            (Target::Proxy, Way::Paused) => "worker-2",
            _ => CLIENT_NODE,
        }
    }

    /// Names of the members that are hit, or in which something is.
    fn victims(&self, lab: &ContainerLab) -> Vec<String> {
        match self.0 {
            Target::EtcdLeader => vec![etcd_leader(lab)],
            Target::ApiServer => vec!["apiserver-1".to_owned()],
            Target::Controllers => ["kube-controller-manager", "endpoints-controller"]
                .map(|lease| holder(lab, lease))
                .into(),
            Target::Node => vec!["worker-3".to_owned()],
            Target::Proxy => vec![CLIENT_NODE.to_owned()],
            Target::Dns => vec!["worker-2".to_owned()],
        }
    }

    /// The program inside a node that is hit, where it is not the whole member.
    fn program(&self) -> Option<&'static str> {
        match self.0 {
            Target::Proxy => Some("proxy-agent"),
            Target::Dns => Some("cluster-dns"),
            _ => None,
        }
    }

    fn hit(&self, lab: &ContainerLab, victim: &str) {
        match (self.program(), self.1) {
            (Some(program), Way::Killed) => signal(lab, victim, "KILL", program),
            (Some(program), Way::Paused) => signal(lab, victim, "STOP", program),
            (None, Way::Killed) => lab.member(victim).kill(),
            (None, Way::Paused) => lab.member(victim).pause(),
        }
    }

    fn mend(&self, lab: &ContainerLab, victim: &str) {
        match (self.program(), self.1) {
            // The node agent has started it again.
            (Some(_), Way::Killed) => {}
            (Some(program), Way::Paused) => signal(lab, victim, "CONT", program),
            (None, Way::Killed) => lab.member(victim).start(),
            (None, Way::Paused) => lab.member(victim).unpause(),
        }
    }
}

/// The pattern does not match its own command line.
fn signal(lab: &ContainerLab, node: &str, signal: &str, program: &str) {
    let (first, rest) = program.split_at(1);
    let pattern = format!("coracle [{first}]{rest}");
    lab.exec(node, &["pkill", &format!("-{signal}"), "-f", &pattern]).ok();
}

fn enough(writes: usize, answers: usize) -> Result<(), String> {
    if writes >= STEADY && answers >= STEADY {
        Ok(())
    } else {
        Err(format!("{writes} writes, {answers} answers"))
    }
}

fn etcd_leader(lab: &ContainerLab) -> String {
    let status = lab.etcdctl(&["endpoint", "status", "-w", "json"]).ok();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let leads =
        |member: &&Value| member["Status"]["leader"] == member["Status"]["header"]["member_id"];
    let leader = status.as_array().into_iter().flatten().find(leads).expect("etcd has a leader");
    let url = leader["Endpoint"].as_str().unwrap_or_default();
    let members = lab.members();
    let mut etcd = members.iter().filter(|name| name.starts_with("etcd-"));
    let found = etcd.find(|name| url == format!("http://{}:2379", lab.member(name).address()));
    found.expect("the leader is a member of the lab").clone()
}

/// The member that holds a Lease.
fn holder(lab: &ContainerLab, lease: &str) -> String {
    let text = lab
        .lite()
        .run(&["-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}"])
        .ok();
    text.split('_').next().unwrap_or_default().to_owned()
}

/// A Service that is made now answers by its name, from that node, whichever DNS server and pod is
/// met: API, controllers, DNS and proxy have all done their part.
fn works_again(lab: &ContainerLab, observer: &str, name: &str) {
    let manifest = service(name, "").replace(&format!("app: {name}"), "app: web");
    wait_for("the new Service to be taken", || {
        let taken = with_limit(lab, &["apply", "-f", "-"], &manifest);
        if taken.code == 0 { Ok(()) } else { Err(taken.stderr) }
    });
    wait_for("the new Service to answer by its name, every time", || {
        let mut ip = String::new();
        for _ in 0..QUERIES {
            ip = look_up(lab, observer, name)?;
        }
        let request =
            Request { to: at(&ip, 80), path: "/hostname.html".into(), timeout_ms: TIMEOUT_MS };
        let answers = lab.get_with(observer, &request, STEADY);
        let mut failed = answers.iter();
        match failed.find(|answer| !matches!(answer, Answer::Http(200, _))) {
            Some(answer) => Err(answer.to_string()),
            None => Ok(()),
        }
    });
}

/// The address that the cluster's DNS has for a Service.
fn look_up(lab: &ContainerLab, observer: &str, name: &str) -> Result<String, String> {
    let host = format!("{name}.default.svc.cluster.local");
    let dig = ["dig", "+short", "+time=1", "+tries=1", &host, "@10.96.0.10"];
    let found = lab.exec(observer, &dig);
    let ip = found.stdout.lines().next().unwrap_or_default();
    match (found.code, ip.parse::<Ipv4Addr>()) {
        (0, Ok(_)) => Ok(ip.to_owned()),
        _ => Err(format!("{found:?}")),
    }
}

/// A request of the client program that is given up where it hangs on a paused server.
fn with_limit(lab: &ContainerLab, args: &[&str], input: &str) -> Output {
    let args = [&["--request-timeout=3s"], args].concat();
    Output::with_input(lab.lite().command().args(args), input)
}

fn nodes_ready(lab: &ContainerLab) -> Result<(), String> {
    let text = with_limit(lab, &["get", "nodes", "--no-headers"], "");
    let ready = text.stdout.lines().filter(|line| line.contains(" Ready ")).count();
    if text.code == 0 && ready == 3 { Ok(()) } else { Err(text.stdout + &text.stderr) }
}

/// What a client of a Service got.
#[derive(Default)]
struct Got {
    answers: usize,
    failed: BTreeMap<String, usize>,
    longest_gap: Duration,
}

/// A client that asks a Service all the while.
struct Client {
    got: Arc<Mutex<Got>>,
    program: Background,
    reader: JoinHandle<()>,
}

impl Client {
    fn start(lab: &ContainerLab) -> Self {
        let ip =
            lab.lite().run(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]).ok();
        let words = [
            &lab.probe(),
            "ask",
            &format!("{}:80", ip.trim()),
            "/hostname.html",
            &PAUSE_MS.to_string(),
            &TIMEOUT_MS.to_string(),
        ];
        let mut program = Background::start(lab, CLIENT_NODE, &words);
        let lines = program.lines();
        let got = Arc::new(Mutex::new(Got::default()));
        let theirs = got.clone();
        let reader = thread::spawn(move || {
            let mut last = Instant::now();
            for line in lines {
                let mut got = theirs.lock().expect("no panic");
                if line.starts_with("200 ") {
                    got.answers += 1;
                    got.longest_gap = got.longest_gap.max(last.elapsed());
                    last = Instant::now();
                } else {
                    *got.failed.entry(line).or_default() += 1;
                }
            }
        });
        Self { got, program, reader }
    }

    fn answers(&self) -> usize {
        self.got.lock().expect("no panic").answers
    }

    /// Requests, those that failed, and the longest time without an answer.
    fn end(self) -> (usize, usize, Duration) {
        drop(self.program);
        self.reader.join().expect("the reader does not panic");
        let got = self.got.lock().expect("no panic");
        let failed = got.failed.values().sum();
        (got.answers + failed, failed, got.longest_gap)
    }
}
