//! The objects that the suites make, as JSON that a test may still change.
//!
//! Never has defaults filled in: what a test does not say, the API server decides.

use serde_json::{Value, json};

/// The UDP port of every server.
pub const UDP_PORT: u16 = 90;

/// A pod of label `app: APP` that answers HTTP on this port and datagrams on [`UDP_PORT`], and
/// that goes without a grace.
pub fn server_on(name: &str, app: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "web",
                "image": "coracle.local/demo",
                "args": ["--port", port.to_string(), "--udp-port", UDP_PORT.to_string()],
                "ports": [
                    {"name": "http", "containerPort": port},
                    {"name": "ask", "containerPort": UDP_PORT, "protocol": "UDP"},
                ],
                "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
            }],
        },
    })
}

/// [`server_on`] port 80.
pub fn server(name: &str, app: &str) -> Value {
    server_on(name, app, 80)
}

/// A server that is never ready.
pub fn unready(name: &str, app: &str) -> Value {
    let mut pod = server(name, app);
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] = json!("/no-such-page");
    pod
}

/// A server that goes on serving for about 20 s when it is told to end.
pub fn lingering(mut pod: Value) -> Value {
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    let args = pod["spec"]["containers"][0]["args"].as_array_mut();
    args.expect("a server has arguments").extend([json!("--quiet-ms"), json!("60000")]);
    pod
}

/// The pod on that node.
pub fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// A server in its node's own network, on this port.
pub fn host_network(name: &str, app: &str, port: u16) -> Value {
    let mut pod = server_on(name, app, port);
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["containers"][0]["args"] = json!(["--port", port.to_string()]);
    pod["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": port}]);
    pod
}

/// A pod with the host's programs.
pub fn client(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "tools", "image": "coracle.local/tools"}],
        },
    })
}

/// A Service of port 80 over the pods of label `app: NAME`.
pub fn service(name: &str) -> Value {
    service_with(name, json!({}))
}

/// [`service`] with these fields of its `spec` added or replaced.
pub fn service_with(name: &str, fields: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
    });
    if let (Some(spec), Value::Object(fields)) = (service["spec"].as_object_mut(), fields) {
        spec.extend(fields);
    }
    service
}

/// A Service port.
pub fn port(name: &str, port: u16, target: impl Into<Value>, protocol: &str) -> Value {
    json!({"name": name, "port": port, "targetPort": target.into(), "protocol": protocol})
}
