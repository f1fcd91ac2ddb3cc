//! JSONPath as kubectl prints it: `cases.json` has, for arguments of `get`, what kubectl 1.32 wrote
//! to its output and the first line of its errors. Our client is held to it, and where there is a
//! stock kubectl, so is that one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Arguments, output, first line of the errors.
type Case = (Vec<String>, String, String);

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jsonpath").join(name);
    std::fs::read_to_string(path).expect("a readable file")
}

/// Serves the objects to whoever asks, as long as the test runs.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let objects: Value = serde_json::from_str(&read("objects.json")).expect("JSON");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, objects) = (stream.expect("a connection"), objects.clone());
            std::thread::spawn(move || answer(stream, &objects));
        }
    });
    url
}

fn answer(mut stream: TcpStream, objects: &Value) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    while let Some(Ok(request)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|it| !it.is_empty())) {}
        let path = request.split(['?', ' ']).nth(1).unwrap_or_default();
        let body = match path {
            "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
            "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
            "/api/v1" => json!({
                "kind": "APIResourceList", "groupVersion": "v1",
                "resources": [{"name": "widgets", "singularName": "widget", "kind": "Widget",
                               "namespaced": true, "verbs": ["get", "list"]}],
            }),
            _ if path.ends_with("/widgets") => objects.clone(),
            _ => objects["items"][0].clone(),
        };
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
        if write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).is_err() {
            return;
        }
    }
}

/// Runs each case, and says which ones differ.
fn check(program: &str) {
    let url = serve();
    let home = tempfile::tempdir().expect("a folder");
    let kubeconfig = home.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).expect("a kubeconfig");
    let cases: Vec<Case> = serde_json::from_str(&read("cases.json")).expect("cases");
    assert!(cases.len() > 180, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for (arguments, output, error) in cases {
        let ran = Command::new(program)
            .args(["get", "widgets"])
            .args(&arguments)
            .env("HOME", home.path())
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (got, errors) = (text(&ran.stdout), text(&ran.stderr));
        let got_error = errors.lines().next().unwrap_or_default();
        let code = i32::from(!error.is_empty());
        if (got.as_str(), got_error, ran.status.code()) != (&*output, &*error, Some(code)) {
            wrong.push(format!(
                "{arguments:?}\n   wanted {output:?} {error:?}\n   got    {got:?} {got_error:?} {:?}",
                ran.status.code()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ours_prints_what_kubectl_printed() {
    check(env!("CARGO_BIN_EXE_kubectl-lite"));
}

#[test]
fn stock_kubectl_still_prints_it() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no kubectl on the PATH");
        eprintln!("SKIPPED: no kubectl on the PATH");
        return;
    }
    check("kubectl");
}
