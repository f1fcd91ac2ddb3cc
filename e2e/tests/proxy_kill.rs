//! The data path outlives the proxy agent: it is killed fifty times while endpoints come and go and
//! clients connect, and no connection fails.
//!
//! Never takes a server away: what leaves the EndpointSlice goes on accepting, as a pod does that
//! still drains, so that every failed connection is the proxy's.

use std::{
    io::{BufRead, BufReader},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use e2e::{Answer, Cluster, Lab, LabOptions, Namespace, Request, wait_for};
use serde_json::json;

const KILLS: usize = 50;
const NODE: &str = "worker-1";
/// Servers in `outside`, one an address-and-port.
const SERVERS: u16 = 6;
const FIRST_PORT: u16 = 9_000;
/// More than the kills can take; the clients are ended when the kills are over.
const REQUESTS: usize = 1_000_000;
const CLIENTS: usize = 4;

/// Process ids (in the lab's own numbering) of the proxy agent in this node's network namespace.
const FIND_AGENT: &str = r#"mine=$(readlink /proc/self/ns/net)
for p in /proc/[0-9]*; do
  [ "$(readlink $p/ns/net 2>/dev/null)" = "$mine" ] || continue
  words=$(tr '\0' ' ' <$p/cmdline 2>/dev/null)
  case "$words" in *shim*|*node-agent*) ;; *proxy-agent*) echo ${p#/proc/};; esac
done"#;

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn slice(ports: impl Iterator<Item = u16>) -> String {
    // One endpoint has one address: the servers differ by port, so each has a slice.
    let slice = |port: u16, present: bool| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": format!("steady-{port}"), "labels": {"kubernetes.io/service-name": "steady"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
            "endpoints": if present { json!([{"addresses": ["192.168.78.2"], "conditions": {"ready": true}}]) } else { json!([]) },
        })
    };
    let present: Vec<u16> = ports.collect();
    let all = FIRST_PORT..FIRST_PORT + SERVERS;
    let items: Vec<_> = all.map(|port| slice(port, present.contains(&port))).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn agent(lab: &Lab) -> Vec<String> {
    lab.exec(NODE, &["sh", "-c", FIND_AGENT]).ok_lines()
}

fn generation(lab: &Lab) -> String {
    lab.exec(NODE, &[&lab.probe(), "generation"]).ok()
}

/// Kills the agent and waits until another one runs and has synced.
fn kill_agent(lab: &Lab) {
    let old = wait_for("the agent to run", || match agent(lab) {
        pids if pids.len() == 1 => Ok(pids),
        pids => Err(format!("{pids:?}")),
    });
    lab.exec(NODE, &["kill", "-9", &old[0]]);
    let health =
        Request { to: ([127, 0, 0, 1], 10256).into(), path: "/healthz".into(), timeout_ms: 1_000 };
    wait_for("a new agent", || {
        let new = agent(lab);
        let answer = lab.get_with(NODE, &health, 1).remove(0);
        let healthy = matches!(answer, Answer::Http(200, _));
        if new.len() == 1 && new != old && healthy {
            Ok(())
        } else {
            Err(format!("{new:?} {answer}"))
        }
    });
}

fn start(lab: &Lab, ns: &Namespace) -> (Vec<Background>, Request) {
    let servers = (FIRST_PORT..FIRST_PORT + SERVERS)
        .map(|port| {
            let at = format!("192.168.78.2:{port}");
            Background(lab.spawn("outside", &[&lab.probe(), "serve", &at, &port.to_string()]))
        })
        .collect();
    ns.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: steady}\nspec:\n  ports: [{port: 80}]\n",
    );
    ns.apply(&slice(FIRST_PORT..FIRST_PORT + SERVERS));
    let to = format!("{}:80", ns.cluster_ip("steady")).parse().expect("a cluster IP");
    let request = Request { to, path: "/".into(), timeout_ms: 5_000 };
    wait_for("every server to answer", || {
        let answers = lab.get_with(NODE, &request, 100);
        let mut seen: Vec<String> = answers.iter().map(ToString::to_string).collect();
        seen.sort();
        seen.dedup();
        if seen.len() == usize::from(SERVERS) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    (servers, request)
}

#[test]
fn no_connection_fails_while_the_agent_is_killed() {
    // The agent is a container: what ends fifty times waits longer each time.
    let up = vec!["--max-container-restart-period=1".to_owned()];
    let lab = Lab::start(LabOptions { up, ..LabOptions::default() });
    let ns = Namespace { client: lab.lite(), name: "default".into() };
    let (_servers, request) = start(&lab, &ns);
    let words = lab.probe_get(&request, REQUESTS, 1);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let clients: Vec<Background> =
        (0..CLIENTS).map(|_| Background(lab.spawn(NODE, &words))).collect();
    let readers: Vec<_> = clients.into_iter().map(read_failures).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // From one server to all and back, never none.
            let counts = (1..=SERVERS).chain((1..SERVERS).rev()).cycle();
            for count in counts.take_while(|_| !over.load(Ordering::Relaxed)) {
                ns.apply(&slice(FIRST_PORT..FIRST_PORT + count));
            }
        });
        // Also when a kill panics: the scope waits for the thread.
        let _over = SetOnDrop(&over);
        for _ in 0..KILLS {
            let before: Vec<usize> = readers.iter().map(Reader::answers).collect();
            kill_agent(&lab);
            wait_for("an answer to each client since the kill", || {
                let answers: Vec<usize> = readers.iter().map(Reader::answers).collect();
                let each = answers.iter().zip(&before).all(|(now, before)| now > before);
                if each { Ok(()) } else { Err(format!("{before:?}, then {answers:?}")) }
            });
        }
    });
    let mut total = 0;
    for reader in readers {
        let answers = reader.answers();
        let failures = reader.end();
        assert!(failures.is_empty(), "{} of {answers} failed: {failures:?}", failures.len());
        total += answers;
    }
    println!("{total} connections, {KILLS} kills");

    let before = generation(&lab);
    kill_agent(&lab);
    assert_eq!(generation(&lab), before, "a restart without a change changed the rules");
}

/// Reads a client's answers as they come.
struct Reader {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    /// Gives the answers that are no 200.
    thread: thread::JoinHandle<Vec<String>>,
}

impl Reader {
    /// How many there were so far.
    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader ends")
    }
}

fn read_failures(mut client: Background) -> Reader {
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, count) = (stop.clone(), answers.clone());
    let thread = thread::spawn(move || {
        let stdout = client.0.stdout.take().expect("a pipe was asked for");
        let mut failures = Vec::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if !line.starts_with("200 ") {
                failures.push(line);
            }
            count.fetch_add(1, Ordering::Relaxed);
            if stopped.load(Ordering::Relaxed) {
                break;
            }
        }
        failures
    });
    Reader { stop, answers, thread }
}
