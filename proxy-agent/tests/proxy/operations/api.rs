//! An API server as small as the agent's requests: lists, watches, Events. Remembers what it
//! was asked, refuses what the real one does not serve, and never checks an object.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// The kinds that an agent watches, and the group and version that serves them.
const KINDS: [(&str, &str, &str); 3] = [
    ("services", "Service", "v1"),
    ("endpointslices", "EndpointSlice", "discovery.k8s.io/v1"),
    ("nodes", "Node", "v1"),
];
/// A watch looks this often whether its client is still there.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Default)]
struct State {
    /// `(plural, object)`, the newest of each name.
    objects: Vec<(String, Value)>,
    /// `(revision, plural, event)`.
    log: Vec<(u64, String, Value)>,
    events: Vec<Value>,
    requests: Vec<String>,
}

/// A running server; it ends with the process.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Api {
    /// Listens on loopback.
    pub fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let api =
            Api { address: listener.local_addr().expect("own address"), state: Arc::default() };
        let server = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        api
    }

    /// A kubeconfig for this server.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
        .to_string()
    }

    /// Adds or replaces an object.
    pub fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.state.0.lock().expect("no panic");
        let revision = state.log.len() as u64 + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        object["metadata"]["uid"] = json!(format!("uid-of-{}", object["metadata"]["name"]));
        let (kind, version) = kind_of(plural);
        object["kind"] = json!(kind);
        object["apiVersion"] = json!(version);
        let same = |(kind, known): &(String, Value)| {
            kind == plural && known["metadata"]["name"] == object["metadata"]["name"]
        };
        let found = state.objects.iter().position(same);
        let event = match found {
            Some(index) => {
                state.objects[index].1 = object.clone();
                "MODIFIED"
            }
            None => {
                state.objects.push((plural.to_owned(), object.clone()));
                "ADDED"
            }
        };
        let event = json!({"type": event, "object": object});
        state.log.push((revision, plural.to_owned(), event));
        self.state.1.notify_all();
    }

    /// Removes an object.
    pub fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state.0.lock().expect("no panic");
        let revision = state.log.len() as u64 + 1;
        let index = state
            .objects
            .iter()
            .position(|(kind, object)| kind == plural && object["metadata"]["name"] == name)
            .expect("an object");
        let (_, object) = state.objects.remove(index);
        let event = json!({"type": "DELETED", "object": object});
        state.log.push((revision, plural.to_owned(), event));
        self.state.1.notify_all();
    }

    /// The Events that were sent.
    pub fn events(&self) -> Vec<Value> {
        self.state.0.lock().expect("no panic").events.clone()
    }

    /// `METHOD PATH?QUERY` of each request.
    pub fn requests(&self) -> Vec<String> {
        self.state.0.lock().expect("no panic").requests.clone()
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        while let Some((method, target, body)) = read_request(&mut reader) {
            let request = format!("{method} {target}");
            self.state.0.lock().expect("no panic").requests.push(request);
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            match (&*method, resource(path)) {
                ("POST", Some("events")) => {
                    let mut state = self.state.0.lock().expect("no panic");
                    state.events.extend(serde_json::from_str::<Value>(&body));
                    drop(state);
                    respond(&stream, 201, &body);
                }
                ("GET", Some(plural)) if plural != "events" => {
                    if query.contains("watch=true") {
                        return self.watch(stream, plural, query);
                    }
                    respond(&stream, 200, &self.list(plural, query));
                }
                _ => respond(&stream, 404, &not_found(path)),
            }
        }
    }

    fn list(&self, plural: &str, query: &str) -> String {
        let state = self.state.0.lock().expect("no panic");
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(kind, object)| kind == plural && selects(query, object))
            .map(|(_, object)| object)
            .collect();
        let (kind, version) = kind_of(plural);
        json!({
            "kind": format!("{kind}List"), "apiVersion": version,
            "metadata": {"resourceVersion": state.log.len().to_string()},
            "items": items,
        })
        .to_string()
    }

    fn watch(&self, mut stream: TcpStream, plural: &str, query: &str) {
        let since = parameter(query, "resourceVersion").and_then(|text| text.parse().ok());
        let mut seen: u64 = since.unwrap_or(0);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        loop {
            let lines: String = {
                let state = self.state.0.lock().expect("no panic");
                let fresh = |state: &mut State| state.log.len() as u64 <= seen;
                let (state, _) =
                    self.state.1.wait_timeout_while(state, LOOK, fresh).expect("no panic");
                let new = state.log.iter().filter(|(revision, kind, event)| {
                    *revision > seen && kind == plural && selects(query, &event["object"])
                });
                let lines = new.map(|(_, _, event)| format!("{event}\n")).collect();
                seen = state.log.len() as u64;
                lines
            };
            if !lines.is_empty() {
                let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
                if stream.write_all(chunk.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

/// The plural of the kind that a path leads to: of all namespaces or of one. Nothing is served
/// under another group or version, and Events only in a namespace.
fn resource(path: &str) -> Option<&'static str> {
    let rooted = |version: &str| match version.split_once('/') {
        Some(_) => format!("/apis/{version}/"),
        None => format!("/api/{version}/"),
    };
    let known = KINDS.iter().map(|(plural, _, version)| (*plural, *version));
    known.chain([("events", "v1")]).find_map(|(plural, version)| {
        let rest = path.strip_prefix(&rooted(version))?;
        let of_namespace = rest.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/'));
        let found = match of_namespace {
            Some((_, rest)) => rest == plural,
            None => rest == plural && plural != "events",
        };
        found.then_some(plural)
    })
}

/// As the real API server says it.
fn not_found(path: &str) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
        "message": format!("the server could not find the requested resource ({path})"),
        "code": 404,
    })
    .to_string()
}

fn kind_of(plural: &str) -> (&'static str, &'static str) {
    let known = KINDS.iter().find(|(kind, ..)| *kind == plural);
    known.map(|(_, kind, version)| (*kind, *version)).expect("a kind")
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Whether `fieldSelector`, which is by name alone, lets the object pass.
fn selects(query: &str, object: &Value) -> bool {
    let Some(selector) = parameter(query, "fieldSelector") else {
        return true;
    };
    let selector = selector.replace("%3D", "=").replace("%3d", "=");
    let name = selector.strip_prefix("metadata.name=").expect("a name");
    object["metadata"]["name"] == name
}

/// Method, target and body; `None` at the end.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, target, String::from_utf8(body).ok()?))
}

fn respond(mut stream: &TcpStream, status: u16, body: &str) {
    let answer = format!(
        "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // A client that has gone is none of the server's business.
    let _ = stream.write_all(answer.as_bytes());
}
