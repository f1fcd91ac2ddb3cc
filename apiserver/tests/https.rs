//! The server as clients meet it: TLS, credentials, stock kubectl.

mod support;

use std::time::Duration;

use support::{
    kubectl::{kubectl, told},
    secure::{Secure, have},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// A client that hangs fails its test instead of stopping the run.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The code that curl got, and what went wrong.
async fn curl(secure: &Secure, path: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "--noproxy", "*", "-o", "/dev/null"])
        .args(["-w", "%{http_code}%{errormsg}"])
        .args(["--cacert", &secure.file("ca.crt").display().to_string()])
        .args(arguments)
        .arg(format!("https://{}{path}", secure.address))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_LIMIT, output).await;
    String::from_utf8_lossy(&output.unwrap().unwrap().stdout).into_owned()
}

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
    assert_eq!(applied, "deployment.apps/web created\nservice/web created\n");
    let changed = MANIFEST.replace("replicas: 2", "replicas: 3");
    let applied = told(&config, "apply -f -", &changed).await;
    assert_eq!(applied, "deployment.apps/web configured\nservice/web unchanged\n");
    for (arguments, want) in [
        ("get deploy,svc -o wide", "deployment.apps/web"),
        ("get svc web --show-labels", "ClusterIP"),
        ("get deploy web -o jsonpath={.spec.replicas}", "3"),
        ("describe svc web", "Selector:"),
        ("scale deploy web --replicas=4", "scaled"),
        ("patch svc web -p {\"spec\":{\"publishNotReadyAddresses\":true}}", "patched"),
        ("label svc web tier=front", "labeled"),
        ("annotate svc web a=b", "annotated"),
        ("explain deployment.spec.strategy", "RollingUpdate"),
        ("api-resources", "endpointslices"),
        ("api-versions", "discovery.k8s.io/v1"),
        ("get --raw /readyz?verbose", "readyz check passed"),
        ("wait --for=jsonpath={.spec.replicas}=4 deploy/web --timeout=5s", "condition met"),
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
    for (arguments, input, want) in [
        (
            "create -f -",
            "apiVersion: v1\nkind: Wombat\nmetadata: {name: x}\n",
            "no matches for kind \"Wombat\" in version \"v1\"",
        ),
        (
            "patch deploy none --type=json -p [{\"op\":\"remove\",\"path\":\"/x\"}]",
            "",
            "deployments.apps \"none\" not found",
        ),
        (
            "patch ns default --type=json -p [{\"op\":\"remove\",\"path\":\"/x\"}]",
            "",
            "The request is invalid: operation 0 failed at \"/x\"",
        ),
    ] {
        let refused = kubectl(&config, arguments, input).await;
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(error.contains(want), "kubectl {arguments}: {error}");
    }
    secure.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_gets_an_answer_and_no_reset() {
    if !have("curl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let long = secure.file("long");
    std::fs::write(&long, vec![b'a'; 20 << 20]).unwrap();
    let body = format!("@{}", long.display());
    let token = "Authorization: Bearer s3cret";
    let maps = "/api/v1/namespaces/default/configmaps";
    // With `Expect:` curl asks first, without it sends at once; a chunked body has no length.
    for version in ["--http1.1", "--http2"] {
        for header in ["Accept: */*", "Expect:", "Transfer-Encoding: chunked"] {
            for (path, credential, want) in [
                (maps, token, "413"),
                (maps, "Authorization: Bearer wrong", "401"),
                ("/api/v1/wombats", token, "404"),
            ] {
                let arguments = [
                    version,
                    "-H",
                    "Content-Type: application/json",
                    "-H",
                    header,
                    "-H",
                    credential,
                    "--data-binary",
                    &body,
                ];
                let got = curl(&secure, path, &arguments).await;
                assert_eq!(got, want, "{version} {header} {path}");
            }
        }
    }
    secure.stop().await;
}

#[tokio::test]
async fn plain_http_is_told_to_use_tls() {
    let secure = Secure::start(&[]).await;
    let mut stream = TcpStream::connect(secure.address).await.unwrap();
    stream.write_all(b"GET /api HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 24];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.0 400 Bad Request");
    secure.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() {
    if !have("curl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let file = |name: &str| secure.file(name).display().to_string();
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
        ("/api", vec!["--http1.1", "--cert", &certificate, "--key", &key], "200"),
        ("/api", vec!["--cert", &wrong, "--key", &wrong_key], "401"),
        ("/livez", vec!["--cert", &wrong, "--key", &wrong_key], "401"),
        (
            "/api",
            vec!["--cert", &wrong, "--key", &wrong_key, "-H", "Authorization: Bearer s3cret"],
            "200",
        ),
    ] {
        let got = curl(&secure, path, &credential).await;
        assert_eq!(got, want, "{path} {credential:?}");
    }
    stranger.stop().await;
    secure.stop().await;
}
