//! No component keeps descriptors of what has gone: after pods have come and gone, each has as many as before.

use std::collections::BTreeMap;

use e2e::{Cluster, Lab, LabOptions, Namespace, wait_for};

const ROUNDS: usize = 3;
const PODS: usize = 20;
/// For a request that is under way in the moment of counting. A descriptor lost with every
/// pod would be 60 at the API server and 30 on each worker.
const SLACK: usize = 8;

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: coracle.local/demo}
";

/// `PID COMPONENT COUNT` a line, in the lab's own numbering.
const COUNT: &str = r#"for p in /proc/[0-9]*; do
  words=$(tr '\0' ' ' <$p/cmdline 2>/dev/null)
  case "$words" in
    "coracle apiserver "*|"coracle "*-controller" "*|"coracle controller-manager "*|"coracle node-agent "*)
      name=${words#coracle }
      echo "${p#/proc/} ${name%% *} $(ls $p/fd | wc -l)";;
  esac
done"#;

/// Open descriptors by component and process.
fn descriptors(lab: &Lab) -> BTreeMap<String, usize> {
    let lines = lab.exec("control-plane", &["sh", "-c", COUNT]).ok_lines();
    let parse = |line: String| {
        let (process, count) = line.rsplit_once(' ')?;
        Some((process.to_owned(), count.parse().ok()?))
    };
    lines.into_iter().filter_map(parse).collect()
}

fn scale(ns: &Namespace, replicas: usize) {
    let replicas_flag = format!("--replicas={replicas}");
    ns.run(&["scale", "deployment/web", &replicas_flag]).ok();
    wait_for("the pods to be there or gone", || {
        let pods = ns.run(&["get", "pods", "--no-headers"]).ok();
        let ready = pods.lines().filter(|pod| pod.contains(" 1/1 ")).count();
        if pods.lines().count() == replicas && ready == replicas { Ok(()) } else { Err(pods) }
    });
}

#[test]
fn pods_that_have_gone_leave_no_descriptor_behind() {
    let lab = Lab::start(LabOptions::default());
    let ns = Namespace { client: lab.lite(), name: "default".into() };
    ns.apply(MANIFEST);
    scale(&ns, 0);
    let before = descriptors(&lab);
    // API server, two controller programs, three node agents.
    assert_eq!(before.len(), 6, "{before:?}");
    for _ in 0..ROUNDS {
        scale(&ns, PODS);
        scale(&ns, 0);
    }
    // Idle connections are kept for half a minute, for the next burst.
    wait_for("the descriptors to be as many as before", || {
        let now = descriptors(&lab);
        let grown = before
            .iter()
            .any(|(process, count)| now.get(process).is_none_or(|now| *now > count + SLACK));
        if grown { Err(format!("{now:?}, before {before:?}")) } else { Ok(()) }
    });
}
