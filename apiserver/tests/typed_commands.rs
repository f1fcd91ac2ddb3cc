//! The commands of stock kubectl that have a type of their own, and send it as protobuf.

mod support;

use std::path::Path;

use support::{
    kubectl::{kubectl, told},
    secure::{Secure, have},
};

async fn check(config: &Path, rows: &[(&str, &str)]) {
    for (arguments, want) in rows {
        let output = told(config, arguments, "").await;
        assert!(output.contains(want), "kubectl {arguments}: {output}");
    }
}

/// Commands that make an object of their flags alone, and what is told of it.
const FLAGS_ALONE: &[(&str, &str)] = &[
    ("create namespace shop", "namespace/shop created"),
    ("create serviceaccount buyer", "serviceaccount/buyer created"),
    ("create deployment web --image=nginx --replicas=0", "deployment.apps/web created"),
    ("get deploy web -o jsonpath={.spec.replicas}/{.spec.strategy.type}", "0/RollingUpdate"),
    ("get deploy web -o jsonpath={.spec.template.spec.containers[0]}", "\"image\":\"nginx\""),
    ("create service nodeport web --tcp=80:8080 --node-port=30080", "service/web created"),
    (
        "get svc web -o jsonpath={.spec.ports[0]}",
        "\"nodePort\":30080,\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080",
    ),
    ("create service clusterip none --clusterip=None", "service/none created"),
    ("get svc none -o jsonpath={.spec.clusterIPs}", "[\"None\"]"),
    ("create service externalname out --external-name=example.com", "service/out created"),
    (
        "create configmap settings --from-literal=a=1 --from-literal=b=",
        "configmap/settings created",
    ),
    ("get cm settings -o jsonpath={.data}", "{\"a\":\"1\",\"b\":\"\"}"),
    ("create secret generic pass --from-literal=a=hi", "secret/pass created"),
    ("get secret pass -o jsonpath={.data.a}/{.type}", "aGk=/Opaque"),
    ("run once --image=nginx --port=80 --restart=Never --env=A=1", "pod/once created"),
    ("get pod once -o jsonpath={.spec.restartPolicy}", "Never"),
    ("expose pod once --port=80 --target-port=http", "service/once exposed"),
    ("expose deploy web --name=exposed --port=80 --target-port=8080", "service/exposed exposed"),
    ("get svc exposed -o jsonpath={.spec.selector}", "{\"app\":\"web\"}"),
    ("create deployment tried --image=nginx --dry-run=server", "created (server dry run)"),
    (
        "delete svc,deploy,pod --all --grace-period=0 --force",
        "deployment.apps \"web\" force deleted",
    ),
];

#[tokio::test]
async fn kubectl_creates_with_flags_alone() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    check(&config, FLAGS_ALONE).await;
    let again = kubectl(&config, "create namespace shop", "").await;
    let error = String::from_utf8_lossy(&again.stderr);
    assert!(error.contains("(AlreadyExists): namespaces \"shop\" already exists"), "{error}");
    let bad = kubectl(&config, "create deployment Web --image=nginx", "").await;
    let error = String::from_utf8_lossy(&bad.stderr);
    assert!(error.contains("metadata.name: Invalid value: \"Web\""), "{error}");
    secure.stop().await;
}

#[tokio::test]
async fn kubectl_empties_a_node_and_takes_it_back() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    let objects = r#"
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"}}
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "nodeName": "worker-1", "containers": [{"name": "main", "image": "nginx"}]
        }}"#;
    told(&config, "create -f -", objects).await;
    check(
        &config,
        &[
            ("cordon worker-1", "node/worker-1 cordoned"),
            ("get node worker-1 -o jsonpath={.spec.unschedulable}", "true"),
            ("uncordon worker-1", "node/worker-1 uncordoned"),
            ("taint node worker-1 a=b:NoSchedule", "node/worker-1 tainted"),
            ("get node worker-1 -o jsonpath={.spec.taints[0]}", "\"key\":\"a\",\"value\":\"b\""),
            ("drain worker-1 --force --grace-period=0", "node/worker-1 drained"),
        ],
    )
    .await;
    assert_eq!(told(&config, "get pods -o name", "").await, "");
    secure.stop().await;
}

/// A ReplicaSet such as the Deployment's controller makes it.
fn replica_set(owner: &str, revision: u32) -> String {
    let image = format!("nginx:{revision}");
    let labels = serde_json::json!({"app": "web", "pod-template-hash": image.replace(':', "-")});
    serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("web-{revision}"),
            "labels": labels,
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner,
                "controller": true,
            }],
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "nginx", "image": image}]},
            },
        },
    })
    .to_string()
}

#[tokio::test]
async fn kubectl_takes_a_rollout_back() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    told(&config, "create deployment web --image=nginx:2", "").await;
    let uid = told(&config, "get deploy web -o jsonpath={.metadata.uid}", "").await;
    let annotation = "deployment.kubernetes.io/revision=2";
    told(&config, &format!("annotate deploy/web {annotation}"), "").await;
    for revision in [1, 2] {
        told(&config, "create -f -", &replica_set(&uid, revision)).await;
    }
    check(
        &config,
        &[
            ("rollout history deploy/web --revision=1", "nginx:1"),
            ("rollout undo deploy/web", "deployment.apps/web rolled back"),
            ("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}", "nginx:1"),
            ("set image deploy/web nginx=nginx:3", "image updated"),
            ("rollout restart deploy/web", "restarted"),
            ("rollout pause deploy/web", "paused"),
            ("rollout resume deploy/web", "resumed"),
        ],
    )
    .await;
    secure.stop().await;
}
