//! The objects that the scenarios apply, as text.
//!
//! Never has defaults filled in: what a test does not say, the API server decides.

use std::net::SocketAddr;

/// A Deployment of the demo web server with an HTTP readiness probe on this path.
pub fn deployment(name: &str, replicas: usize, probe_path: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}, release: stable}}
  template:
    metadata:
      labels: {{app: {name}, release: stable}}
    spec:
      containers:
      - name: web
        image: wangyanglinux/myapp:v1.0
        imagePullPolicy: IfNotPresent
        ports:
        - {{name: http, containerPort: 80}}
        readinessProbe:
          httpGet: {{path: {probe_path}, port: 80}}
          initialDelaySeconds: 1
          periodSeconds: 1
---
"
    )
}

/// A Service over that Deployment: port 80 → 80, with more lines for its `spec`.
pub fn service(name: &str, more: &str) -> String {
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}, release: stable}}
  ports:
  - {{name: http, port: 80, targetPort: 80}}
{more}---
"
    )
}

/// A pod `client` with the host's programs.
pub fn client_pod() -> String {
    "apiVersion: v1
kind: Pod
metadata:
  name: client
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: tools, image: coracle.local/tools}
---
"
    .to_owned()
}

/// A Service without a selector, port 6666, and Endpoints of its name at these addresses.
pub fn hand_written(name: &str, addresses: &[&str], port: u16) -> String {
    let addresses: String = addresses.iter().map(|ip| format!("  - ip: {ip}\n")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  ports:
  - {{port: 6666, targetPort: {port}}}
---
apiVersion: v1
kind: Endpoints
metadata:
  name: {name}
subsets:
- addresses:
{addresses}  ports:
  - {{port: {port}}}
"
    )
}

/// `ADDRESS:PORT` as a socket address.
#[track_caller]
pub fn at(address: &str, port: u16) -> SocketAddr {
    format!("{address}:{port}").parse().unwrap_or_else(|error| panic!("{address}:{port}: {error}"))
}
