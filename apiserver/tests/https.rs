//! The server as clients meet it: TLS, credentials, stock kubectl.

mod support;

use std::time::Duration;

use support::{
    kubectl::{kubectl, told},
    secure::{Secure, have},
};
use tokio::process::Command;

/// A client that hangs fails its test instead of stopping the run.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers: [{ name: main, image: demo, ports: [{ containerPort: 80 }] }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
";

#[tokio::test]
async fn stock_kubectl_works() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    let applied = told(&config, "apply -f -", MANIFEST).await;
    assert_eq!(
        applied,
        "deployment.apps/web created\nservice/web created\n"
    );
    let changed = MANIFEST.replace("replicas: 2", "replicas: 3");
    let applied = told(&config, "apply -f -", &changed).await;
    assert_eq!(
        applied,
        "deployment.apps/web configured\nservice/web unchanged\n"
    );
    for (arguments, want) in [
        ("get deploy,svc -o wide", "deployment.apps/web"),
        ("get svc web --show-labels", "ClusterIP"),
        ("get deploy web -o jsonpath={.spec.replicas}", "3"),
        ("describe svc web", "Selector:"),
        ("scale deploy web --replicas=4", "scaled"),
        (
            "patch svc web -p {\"spec\":{\"publishNotReadyAddresses\":true}}",
            "patched",
        ),
        ("label svc web tier=front", "labeled"),
        ("annotate svc web a=b", "annotated"),
        ("explain deployment.spec.strategy", "RollingUpdate"),
        ("api-resources", "endpointslices"),
        ("api-versions", "discovery.k8s.io/v1"),
        ("get --raw /readyz?verbose", "readyz check passed"),
        (
            "wait --for=jsonpath={.spec.replicas}=4 deploy/web --timeout=5s",
            "condition met",
        ),
        ("delete deploy,svc -l tier=front", "deleted"),
        ("delete deploy web", "deleted"),
    ] {
        let output = told(&config, arguments, "").await;
        assert!(output.contains(want), "kubectl {arguments}: {output}");
    }
    let strict = MANIFEST.replace("replicas: 2", "replicsa: 2");
    let refused = kubectl(&config, "apply -f -", &strict).await;
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("unknown field \"spec.replicsa\""), "{error}");
    secure.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() {
    if !have("curl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let file = |name: &str| secure.file(name).display().to_string();
    let ca = file("ca.crt");
    let (certificate, key) = (file("admin.crt"), file("admin.key"));
    let stranger = Secure::start(&[]).await;
    let wrong = stranger.file("admin.crt").display().to_string();
    let wrong_key = stranger.file("admin.key").display().to_string();
    for (path, credential, want) in [
        ("/api/v1/namespaces", vec![], "401"),
        ("/metrics", vec![], "401"),
        ("/livez", vec![], "200"),
        ("/version", vec![], "200"),
        ("/api", vec!["-H", "Authorization: Bearer s3cret"], "200"),
        ("/api", vec!["-H", "Authorization: Bearer wrong"], "401"),
        ("/api", vec!["--cert", &certificate, "--key", &key], "200"),
        (
            "/api",
            vec!["--http1.1", "--cert", &certificate, "--key", &key],
            "200",
        ),
        // The handshake fails: no answer at all.
        ("/livez", vec!["--cert", &wrong, "--key", &wrong_key], "000"),
    ] {
        let output = Command::new("curl")
            .args([
                "-s",
                "--noproxy",
                "*",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--cacert",
                &ca,
            ])
            .args(&credential)
            .arg(format!("https://{}{path}", secure.address))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND_LIMIT, output)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            want,
            "{path} {credential:?}"
        );
    }
    stranger.stop().await;
    secure.stop().await;
}
