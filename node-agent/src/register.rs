//! The node itself in the API: its object, its status, its lease.
//!
//! Never touches pods, and never removes what others wrote on the node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::options::Options;
use crate::status::api_time;

/// Lease and status are renewed this often.
const PERIOD: Duration = Duration::from_secs(10);
/// As long as upstream's: four periods.
const LEASE_SECONDS: i32 = 40;
const RETRY: Duration = Duration::from_millis(200);
/// Pods that upstream allows on a node.
const MAX_PODS: u32 = 110;
/// The Kubernetes that this agent behaves like.
const KUBELET_VERSION: &str = concat!("v1.36.0+coracle-", env!("CARGO_PKG_VERSION"));

/// What a node says of itself.
pub struct Myself {
    /// Its name.
    pub name: String,
    /// The command line.
    pub options: Options,
    /// The port its server really has.
    pub port: u16,
}

/// Registers, then renews for as long as the agent lives.
pub async fn run(client: Client, myself: Arc<Myself>) {
    let mut node = loop {
        match register(&client, &myself).await {
            Ok(node) => break node,
            Err(error) => tracing::warn!("register the node: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    };
    tracing::info!(node = myself.name, "registered");
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tick.tick().await;
        match post_status(&client, &myself, &node).await {
            Ok(new) => node = new,
            Err(error) => tracing::warn!("post the node's status: {error:#}"),
        }
        if let Err(error) = renew_lease(&client, &node).await {
            tracing::warn!("renew the node's lease: {error:#}");
        }
    }
}

/// `key=value:effect` or `key:effect`.
fn parse_taint(text: &str) -> Result<Taint> {
    let (key, effect) =
        text.rsplit_once(':').with_context(|| format!("taint {text}: write key=value:effect"))?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        bail!("taint {text}: the effect is NoSchedule, PreferNoSchedule or NoExecute");
    }
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    let value = (!value.is_empty()).then(|| value.to_owned());
    Ok(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}

/// The node's taints at registration.
pub fn taints(options: &Options) -> Result<Vec<Taint>> {
    options
        .register_with_taints
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| parse_taint(text))
        .collect()
}

/// The node's labels at registration.
pub fn labels(options: &Options, name: &str) -> Result<Value> {
    let mut labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
    });
    for label in options.node_labels.iter().filter(|label| !label.is_empty()) {
        let (key, value) = label
            .split_once('=')
            .with_context(|| format!("node label {label}: write key=value"))?;
        labels[key] = json!(value);
    }
    Ok(labels)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn register(client: &Client, myself: &Myself) -> Result<Node> {
    let api: Api<Node> = Api::all(client.clone());
    let labels = labels(&myself.options, &myself.name)?;
    let cidr = myself.options.pod_cidr.to_string();
    if let Some(node) = api.get_opt(&myself.name).await? {
        let has_cidr = node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some());
        let mut patch = json!({"metadata": {"labels": labels}});
        if !has_cidr {
            patch["spec"] = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
        }
        return Ok(api.patch(&myself.name, &PatchParams::default(), &Patch::Merge(patch)).await?);
    }
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": myself.name, "labels": labels},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr], "taints": taints(&myself.options)?},
    }))?;
    Ok(api.create(&PostParams::default(), &node).await?)
}

async fn post_status(client: &Client, myself: &Myself, node: &Node) -> Result<Node> {
    let api: Api<Node> = Api::all(client.clone());
    // Read anew: a controller may have set a condition to Unknown meanwhile.
    let node = api.get(&node.name_any()).await?;
    let conditions = conditions(node.status.as_ref(), Timestamp::now());
    let ip = myself.options.node_ip.to_string();
    let resources = resources(&myself.options.root_dir);
    let patch = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": myself.name}],
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": myself.port}},
        "nodeInfo": node_info(),
    }});
    Ok(api.patch_status(&myself.name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// This agent's conditions, after those of others.
fn conditions(old: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let mine = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let old = old.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let others = old
        .iter()
        .filter(|condition| !mine.iter().any(|(kind, ..)| condition.type_ == *kind))
        .cloned();
    let own = mine.iter().map(|(kind, status, reason, message)| {
        let before =
            old.iter().find(|condition| condition.type_ == *kind && condition.status == *status);
        NodeCondition {
            type_: (*kind).into(),
            status: (*status).into(),
            reason: Some((*reason).into()),
            message: Some((*message).into()),
            last_heartbeat_time: Some(api_time(now)),
            last_transition_time: before
                .and_then(|condition| condition.last_transition_time.clone())
                .or_else(|| Some(api_time(now))),
        }
    });
    others.chain(own).collect()
}

fn resources(root_dir: &std::path::Path) -> Value {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let disk = nix::sys::statvfs::statvfs(root_dir)
        .map_or(0, |stat| stat.blocks() * stat.fragment_size() / 1024);
    json!({
        "cpu": cpus.to_string(),
        "memory": format!("{}Ki", memory.unwrap_or(0)),
        "ephemeral-storage": format!("{disk}Ki"),
        "pods": MAX_PODS.to_string(),
    })
}

fn node_info() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = read("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"')
        .to_owned();
    json!({
        "machineID": read("/etc/machine-id"),
        "systemUUID": read("/etc/machine-id"),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "osImage": name,
        "containerRuntimeVersion": concat!("coracle://", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    })
}

async fn renew_lease(client: &Client, node: &Node) -> Result<()> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let name = node.name_any();
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": MicroTime(Timestamp::now()),
    });
    let patch = Patch::Merge(json!({"spec": spec}));
    match api.patch(&name, &PatchParams::default(), &patch).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error.into()),
    }
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid()});
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
        "spec": spec,
    }))?;
    api.create(&PostParams::default(), &lease).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_parse() {
        let text =
            |taint: Taint| format!("{} {:?} {}", taint.key, taint.value.as_deref(), taint.effect);
        assert_eq!(text(parse_taint("a/b=c:NoSchedule").unwrap()), "a/b Some(\"c\") NoSchedule");
        assert_eq!(text(parse_taint("a/b:NoExecute").unwrap()), "a/b None NoExecute");
        assert_eq!(text(parse_taint("a=:NoSchedule").unwrap()), "a None NoSchedule");
        for bad in ["a", "a=b", "a=b:Sometimes"] {
            assert!(parse_taint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions_keep_others_and_their_times() {
        let old = |now| conditions(None, now);
        let first = Timestamp::from_second(10).unwrap();
        let mut status = NodeStatus { conditions: Some(old(first)), ..Default::default() };
        let foreign = NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: "False".into(),
            ..Default::default()
        };
        status.conditions.as_mut().unwrap().push(foreign);
        status.conditions.as_mut().unwrap()[3].status = "Unknown".into();
        let new = conditions(Some(&status), Timestamp::from_second(20).unwrap());
        let text: Vec<String> = new
            .iter()
            .map(|condition| {
                format!(
                    "{}={}@{:?}",
                    condition.type_,
                    condition.status,
                    condition.last_transition_time.as_ref().map(|time| time.0.as_second())
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                "NetworkUnavailable=False@None",
                "MemoryPressure=False@Some(10)",
                "DiskPressure=False@Some(10)",
                "PIDPressure=False@Some(10)",
                "Ready=True@Some(20)"
            ]
        );
    }
}
