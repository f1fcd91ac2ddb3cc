//! `/explain` over the socket that serves it: what is asked, and what comes.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Paths, Source, answer_on};
use crate::catalog::{Catalog, Change};
use crate::explain::desk::Desk;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{Mode, nftables};
use crate::routes::{Dirty, Family};
use crate::settings::Settings;

/// A mode that does nothing.
struct Still(Settings);

impl Mode for Still {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn settings(&self) -> &Settings {
        &self.0
    }

    fn sync(&mut self, _: &Catalog, _: &Dirty) -> anyhow::Result<()> {
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        false
    }

    fn distrust(&mut self) {}
}

fn catalog() -> Catalog {
    let service = json!({
        "metadata": { "namespace": "default", "name": "web" },
        "spec": {
            "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "ports": [{ "port": 80, "protocol": "TCP" }],
        },
    });
    let service = serde_json::from_value(service).expect("a Service");
    let mut catalog = Catalog::new("node-1");
    catalog.apply(Change::Service(Box::new(service)));
    catalog.take_dirty();
    catalog
}

/// Asks over a socket, where the listener has these paths; the agent's loop has
/// this catalog. Returns status line and body.
async fn ask(catalog: Option<Catalog>, paths: Paths, path: &str, accept: &str) -> (String, String) {
    let (explain, mut desk) = Desk::new();
    let modes: Vec<Box<dyn Mode>> = vec![Box::new(Still(Settings::new(Family::V4)))];
    let answers = tokio::spawn(async move {
        loop {
            desk.next().await.answer(catalog.as_ref(), &modes);
        }
    });
    let source = Arc::new(Source {
        health: Arc::new(Health::default()),
        metrics: Arc::new(Metrics::new(&nftables::MODE)),
        mode: "nftables",
        explain,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(answer_on(listener, paths, source));
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    server.abort();
    answers.abort();
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let is_guarded = head.contains("x-content-type-options: nosniff");
    assert!(is_guarded, "a browser may guess: {head}");
    let status = head.lines().next().unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

const QUESTION: &str = "/explain?source=10.244.1.11&destination=10.96.0.10:80&protocol=tcp";

#[tokio::test]
async fn json_unless_text_is_asked_for() {
    let (status, body) = ask(Some(catalog()), Paths::Metrics, QUESTION, "*/*").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(told["outcome"], "reject");
    assert_eq!(told["decisions"][0]["object"], "Service default/web");
    assert_eq!(told["decisions"][0]["field"], "spec.clusterIPs");

    let (status, body) = ask(Some(catalog()), Paths::Metrics, QUESTION, "text/plain").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let first = "tcp 10.244.1.11 -> 10.96.0.10:80 on node-1 (nftables)\n";
    assert!(body.starts_with(first), "{body}");
}

#[tokio::test]
async fn a_bad_question_is_told_its_field() {
    let path = "/explain?source=10.244.1.11&destination=web";
    let (status, body) = ask(Some(catalog()), Paths::Metrics, path, "*/*").await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(told["field"], "destination");
    let path = "/explain?source=fd44::1&destination=[fd96::1]:80";
    let (status, body) = ask(Some(catalog()), Paths::Metrics, path, "text/plain").await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    assert_eq!(body, "destination: is of an IP family that this node does not have\n");
}

#[tokio::test]
async fn nothing_is_told_before_all_is_known_nor_where_probes_are_answered() {
    let (status, _) = ask(None, Paths::Metrics, QUESTION, "*/*").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let (status, _) = ask(Some(catalog()), Paths::Health, QUESTION, "*/*").await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
}
