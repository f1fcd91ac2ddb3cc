//! What every test has: the site, a namespace of its own, and ways to look at both.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use serde_json::{Value, json};

use super::site::Site;
use crate::{Answer, Client, Namespace, Output, wait_for};

/// Requests within which each of three endpoints answers: a miss is one in 10^7.
pub const REQUESTS: usize = 40;

/// Who looks.
#[derive(Debug, Clone)]
pub enum Observer {
    /// A node, or the place that is none.
    Place(String),
    /// A pod of the test's namespace.
    Pod(String),
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(name) => write!(f, "{name}"),
            Self::Pod(name) => write!(f, "pod {name}"),
        }
    }
}

/// A pod as an observer.
pub fn pod(name: &str) -> Observer {
    Observer::Pod(name.to_owned())
}

/// A place as an observer.
pub fn place(name: &str) -> Observer {
    Observer::Place(name.to_owned())
}

/// A test's surroundings.
pub struct Bench<'a> {
    /// The lab.
    pub site: &'a Site,
    /// The test's namespace.
    pub ns: Namespace,
}

impl<'a> Bench<'a> {
    /// A bench with a new namespace.
    pub fn new(site: &'a Site, client: &Client, name: &str) -> Self {
        let ns = client.namespace(name);
        Self { site, ns }
    }

    /// Applies objects.
    #[track_caller]
    pub fn make(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.ns.apply(&list.to_string());
    }

    /// Applies pods and other objects and waits until all pods are ready.
    #[track_caller]
    pub fn make_ready(&self, objects: &[Value]) {
        self.make(objects);
        let pods = objects.iter().filter(|object| object["kind"] == "Pod");
        for pod in pods.filter_map(|pod| pod["metadata"]["name"].as_str()) {
            self.ns.wait_ready(pod);
        }
    }

    /// Deletes objects and waits until they are gone.
    #[track_caller]
    pub fn delete(&self, kind: &str, names: &[&str]) {
        self.ns.run(&[&["delete", kind], names].concat()).ok();
    }

    /// A merge patch of a Service's `spec`.
    #[track_caller]
    pub fn patch_service(&self, name: &str, spec: Value) {
        self.patch(&format!("service/{name}"), json!({"spec": spec}));
    }

    /// A merge patch.
    #[track_caller]
    pub fn patch(&self, object: &str, patch: Value) {
        let words = ["patch", object, "--type=merge", "-p", &patch.to_string()];
        self.ns.run(&words).ok();
    }

    /// A field of a Service's port.
    #[track_caller]
    pub fn node_port(&self, service: &str, index: usize) -> u16 {
        let service = self.ns.get(&["service", service]);
        let port = service["spec"]["ports"][index]["nodePort"].as_u64();
        let port = port.unwrap_or_else(|| panic!("no node port in {service}"));
        u16::try_from(port).expect("a port")
    }

    /// A pod's address.
    #[track_caller]
    pub fn pod_ip(&self, pod: &str) -> String {
        let pod = self.ns.get(&["pod", pod]);
        let ip = pod["status"]["podIP"].as_str();
        ip.unwrap_or_else(|| panic!("no address in {pod}")).to_owned()
    }

    /// Runs a script of the shell where the observer is.
    pub fn shell(&self, from: &Observer, script: &str) -> Output {
        let words = ["bash", "-c", script];
        match from {
            Observer::Place(place) => self.site.exec(place, &words),
            Observer::Pod(pod) => self.ns.exec(pod, &words),
        }
    }

    /// Sends so many requests, a connection each.
    pub fn gets(&self, from: &Observer, url: &str, count: usize) -> Vec<Answer> {
        if let (Observer::Place(place), Some((to, path))) = (from, socket_and_path(url)) {
            return self.site.get_many(place, to, &path, count);
        }
        let script = format!(
            "for i in $(seq {count}); do body=$(curl -s --max-time 2 -w ' %{{http_code}}' 'http://{url}'); echo $? $body; done"
        );
        let lines = self.shell(from, &script).ok_lines();
        assert_eq!(lines.len(), count, "one line a request: {lines:?}");
        lines.iter().map(|line| curl_answer(line)).collect()
    }

    /// Sends one request.
    pub fn get(&self, from: &Observer, url: &str) -> Answer {
        self.gets(from, url, 1).remove(0)
    }

    /// Waits until a request is answered so.
    #[track_caller]
    pub fn expect(&self, from: &Observer, url: &str, wanted: &Answer) {
        wait_for(&format!("{from} → {url} to be {wanted}"), || {
            let answer = self.get(from, url);
            if answer == *wanted { Ok(()) } else { Err(answer.to_string()) }
        });
    }

    /// Waits until this pod answers, and asks no other.
    #[track_caller]
    pub fn expect_pod(&self, from: &Observer, to: &str, pod: &str) {
        let wanted = Answer::Http(200, pod.to_owned());
        self.expect(from, &format!("{to}/hostname.html"), &wanted);
    }

    /// Waits until connections are refused.
    #[track_caller]
    pub fn expect_refused(&self, from: &Observer, to: &str) {
        self.expect(from, &format!("{to}/"), &Answer::Refused);
    }

    /// Waits until connections find nobody, not even a refusal.
    #[track_caller]
    pub fn expect_dropped(&self, from: &Observer, to: &str) {
        self.expect(from, &format!("{to}/"), &Answer::Timeout);
    }

    /// The pods that answer so many requests.
    pub fn answering(&self, from: &Observer, to: &str, count: usize) -> BTreeSet<String> {
        let answers = self.gets(from, &format!("{to}/hostname.html"), count);
        let name = |answer: &Answer| match answer {
            Answer::Http(200, name) => name.clone(),
            other => other.to_string(),
        };
        answers.iter().map(name).collect()
    }

    /// Waits until exactly these pods answer.
    #[track_caller]
    pub fn expect_pods(&self, from: &Observer, to: &str, pods: &[&str]) {
        let wanted: BTreeSet<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
        wait_for(&format!("{from} → {to} to meet {pods:?}"), || {
            let seen = self.answering(from, to, REQUESTS);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Sends so many datagrams, each from a socket of its own: the answers, `refused`, or `none`.
    pub fn datagrams(&self, from: &Observer, to: &str, count: usize) -> Vec<String> {
        let (ip, port) = to.rsplit_once(':').expect("ADDRESS:PORT");
        let script = format!(
            "for i in $(seq {count}); do exec 3<>/dev/udp/{ip}/{port}; echo who >&3 2>/dev/null; said=$(timeout 1 head -n1 <&3 2>&1); \
             case \"$said\" in *refused*) echo refused;; '') echo none;; *) echo $said;; esac; exec 3>&-; done"
        );
        self.shell(from, &script).ok_lines()
    }

    /// Waits until exactly these pods answer datagrams, or this word is what comes of them.
    #[track_caller]
    pub fn expect_datagrams(&self, from: &Observer, to: &str, pods: &[&str]) {
        let wanted: BTreeSet<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
        let count = if pods.len() > 1 { REQUESTS } else { 1 };
        wait_for(&format!("{from} → {to} (UDP) to meet {pods:?}"), || {
            let answers = self.datagrams(from, to, count);
            let first = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
            let seen: BTreeSet<String> = answers.iter().map(first).collect();
            if seen == wanted { Ok(()) } else { Err(format!("{answers:?}")) }
        });
    }

    /// Every node, and the place that is none.
    pub fn places(&self) -> Vec<Observer> {
        self.site.places().into_iter().map(Observer::Place).collect()
    }
}

/// The parts of `ADDRESS:PORT/PATH`, where it is one.
fn socket_and_path(url: &str) -> Option<(SocketAddr, String)> {
    let (to, path) = url.split_once('/')?;
    let to = to.parse().or_else(|_| format!("{to}:80").parse()).ok()?;
    Some((to, format!("/{path}")))
}

/// `EXIT_CODE BODY HTTP_CODE` of a curl. 7: could not connect, 28: timed out.
fn curl_answer(line: &str) -> Answer {
    let (exit, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (body, code) = rest.rsplit_once(' ').unwrap_or(("", rest));
    match (exit, code.parse()) {
        ("0", Ok(code)) => Answer::Http(code, body.to_owned()),
        ("7", _) => Answer::Refused,
        ("28", _) => Answer::Timeout,
        _ => Answer::Error(format!("curl: {line}")),
    }
}
