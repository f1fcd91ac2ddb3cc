//! The lab itself: its end leaves nothing, its restart keeps everything, two live side by side, and
//! none needs root.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Command};

use e2e::{Answer, Cluster, Lab, LabOptions, Namespace, wait_for};
use serde_json::Value;

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: coracle.local/demo
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
";

fn default_namespace(lab: &Lab) -> Namespace {
    Namespace { client: lab.lite(), name: "default".into() }
}

fn web(ns: &Namespace) -> SocketAddr {
    format!("{}:80", ns.cluster_ip("web")).parse().expect("a cluster IP")
}

/// Waits for an answer of a pod through the cluster IP on a worker.
fn answers(lab: &Lab, ns: &Namespace) {
    let to = web(ns);
    wait_for("an answer through the cluster IP", || match lab.get("worker-1", to, "/") {
        Answer::Http(200, _) => Ok(()),
        other => Err(format!("{other}\n{}", ns.run(&["get", "pods", "-A", "-o", "wide"]).stdout)),
    });
}

/// Command lines of living processes that name this directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let needle = directory.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is readable").flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&needle) {
            found.push(format!("{} {command}", entry.file_name().display()));
        }
    }
    found
}

fn nothing_left(directory: &Path) {
    wait_for("the last process to end", || {
        let left = processes_of(directory);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts are readable");
    let left: Vec<&str> =
        mounts.lines().filter(|line| line.contains(&directory.display().to_string())).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_lab_leaves_nothing() {
    let mut lab = Lab::start(LabOptions::default());
    let directory = lab.data_dir().to_owned();
    assert!(!processes_of(&directory).is_empty(), "a lab's processes name its directory");
    lab.kill();
    nothing_left(&directory);
}

#[test]
fn an_interrupted_lab_leaves_nothing_and_starts_again_as_it_was() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let options = LabOptions { data_dir: Some(home.path().join("lab")), ..LabOptions::default() };
    let mut lab = Lab::start(options.clone());
    let ns = default_namespace(&lab);
    ns.apply(WEB);
    answers(&lab, &ns);
    let before = identities(&ns);
    lab.stop();
    nothing_left(lab.data_dir());
    drop(lab);

    let lab = Lab::start(options);
    answers(&lab, &ns);
    assert_eq!(identities(&ns), before);
    wait_for("every pod to run again, restarted once", || {
        let pods = ns.get(&["pods", "-l", "app=web"]);
        let states: Vec<&Value> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| &pod["status"]["containerStatuses"][0])
            .collect();
        let again = |state: &&Value| state["restartCount"] == 1 && state["ready"] == true;
        if states.len() == 2 && states.iter().all(again) {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    });
}

#[test]
fn a_start_has_the_nodes_and_the_proxies_that_were_asked_for_and_no_others() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let with = |nodes: &str| LabOptions {
        data_dir: Some(home.path().join("lab")),
        up: vec!["--nodes".into(), nodes.into()],
        ..LabOptions::default()
    };
    let mut lab = Lab::start(with("2"));
    let ns = default_namespace(&lab);
    ns.apply(WEB);
    answers(&lab, &ns);
    lab.stop();
    // As a lab left it whose proxies were static pods.
    let former = lab.data_dir().join("nodes/worker-1/manifests/kube-proxy.json");
    fs::write(&former, FORMER_PROXY).expect("the manifest is written");
    drop(lab);

    let lab = Lab::start(with("1"));
    assert!(!former.exists(), "{} is still there", former.display());
    assert!(lab.log().contains("with their pods: worker-2"), "{}", lab.log());
    let names: Vec<String> = lab.nodes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["control-plane", "worker-1"]);
    ns.wait_endpoints("web", 2, 0);
    answers(&lab, &ns);
    let nowhere = ns.get(&["pods", "-A", "--field-selector", "spec.nodeName=worker-2"]);
    assert_eq!(nowhere["items"], serde_json::json!([]));
    let system = Namespace { name: "kube-system".into(), ..ns };
    wait_for("one proxy a node", || {
        let proxies = system.run(&["get", "pods", "-l", "k8s-app=kube-proxy", "-o", "wide"]);
        let ready = proxies.stdout.matches("1/1").count();
        if ready == 2 && proxies.stdout.lines().count() == 3 {
            Ok(())
        } else {
            Err(format!("{proxies:?}"))
        }
    });
}

const FORMER_PROXY: &str = r#"{"apiVersion": "v1", "kind": "Pod",
  "metadata": {"name": "kube-proxy", "namespace": "kube-system", "labels": {"k8s-app": "kube-proxy"}},
  "spec": {"hostNetwork": true, "containers": [{"name": "kube-proxy", "image": "coracle.local/proxy-agent"}]}}
"#;

/// What must survive: names and UIDs of pods and Services, and cluster IPs.
fn identities(ns: &Namespace) -> Vec<String> {
    let list = ns.get(&["pods,services"]);
    let mut found: Vec<String> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|object| {
            format!(
                "{} {} {}",
                object["metadata"]["name"], object["metadata"]["uid"], object["spec"]["clusterIP"]
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn two_labs_live_side_by_side() {
    let (one, two) = (Lab::start(LabOptions::default()), Lab::start(LabOptions::default()));
    for lab in [&one, &two] {
        let ns = default_namespace(lab);
        ns.apply(WEB);
        answers(lab, &ns);
    }
    assert_ne!(one.host_address(), two.host_address());
}

/// A lab without root, seen by a root that gave its rights away. An ordinary user runs all other
/// tests here without it.
#[test]
fn an_ordinary_user_has_the_same_lab() {
    if !rustix::process::getuid().is_root() {
        eprintln!("this user is ordinary: every other test here is this one");
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755))
        .expect("the directory is opened");
    let lab = Lab::start(LabOptions { uid: Some(e2e::ORDINARY_UID), ..LabOptions::default() });
    let ns = default_namespace(&lab);
    ns.apply(WEB);
    answers(&lab, &ns);
    let output = lab.exec("worker-2", &["id", "-u"]);
    assert_eq!(output.ok().trim(), "0", "inside, the user is root");
}

#[test]
fn a_component_that_dies_alone_is_started_again() {
    let lab = Lab::start(LabOptions::default());
    let ns = default_namespace(&lab);
    // Everything with this word in its command line, inside the lab's own process ids.
    let kill = "for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q \"$0\"; then kill -9 ${p#/proc/}; fi; done; true";
    for component in
        ["[c]ontroller-manager", "[e]ndpoints-controller", "[n]ode-agent", "[a]piserver"]
    {
        lab.exec("control-plane", &["sh", "-c", kill, component]).ok();
    }
    wait_for("the API server to answer", || {
        let output = ns.run(&["get", "nodes"]);
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    ns.apply(WEB);
    answers(&lab, &ns);
}

/// In a user namespace of its own the limit can be lowered without touching the machine's.
#[test]
fn where_namespaces_are_forbidden_the_error_names_the_setting() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for setting in ["user.max_user_namespaces", "user.max_net_namespaces"] {
        let script = format!(
            "echo 0 >/proc/sys/{} && exec \"$0\" up --data-dir \"$1\"",
            setting.replace('.', "/")
        );
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .arg(Lab::binary())
            .arg(home.path())
            .output()
            .expect("unshare runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{error}");
        for wanted in [setting, "sysctl", "--control-plane-only"] {
            assert!(error.contains(wanted), "{wanted} is missing in {error}");
        }
    }
}
