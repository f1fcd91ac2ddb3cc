//! Node: a machine that runs pods.
//!
//! Never judges whether it is alive: the node lifecycle controller does.

use std::{collections::BTreeSet, net::SocketAddr};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, Names, Role, Rules},
    names,
    subresource::Subresource,
    table::{self, column, wide},
};

const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

/// Port of the agent of a node that does not say where it listens.
const DEFAULT_AGENT_PORT: i32 = 10_250;

/// Rules of `nodes`.
pub struct NodeRules;

impl Rules for NodeRules {
    type Object = Node;

    fn names() -> Names {
        Names::cluster("", "v1", "Node", "nodes").short(&["no"]).stored_at("minions")
    }

    fn subresources() -> Vec<Subresource> {
        vec![Subresource::status()]
    }

    const ROLE: Option<Role> = Some(Role::Agents);

    fn agent(node: &Node) -> Result<SocketAddr, String> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let status = node.status.clone().unwrap_or_default();
        let endpoint = status.daemon_endpoints.and_then(|endpoints| endpoints.kubelet_endpoint);
        let port = endpoint.map_or(DEFAULT_AGENT_PORT, |endpoint| endpoint.port);
        let mut addresses = status.addresses.into_iter().flatten();
        let internal = addresses.find(|address| address.type_ == "InternalIP");
        let internal = internal.ok_or_else(|| format!("node {name} has no InternalIP address"))?;
        let address = internal.address.parse();
        let address =
            address.map_err(|_| format!("node {name}: {:?} is no address", internal.address))?;
        Ok(SocketAddr::new(address, u16::try_from(port).unwrap_or_default()))
    }

    fn default(node: &mut Node) {
        // `podCIDR` and `podCIDRs` are two views of one list.
        if let Some(spec) = &mut node.spec {
            match (&spec.pod_cidr, &spec.pod_cidrs) {
                (Some(range), None) => spec.pod_cidrs = Some(vec![range.clone()]),
                (None, Some(ranges)) => spec.pod_cidr = ranges.first().cloned(),
                _ => {}
            }
        }
        if let Some(status) = &mut node.status
            && status.allocatable.is_none()
        {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    // A node agent registers its node with its status: create keeps it.

    fn prepare_update(new: &mut Node, old: &Node) {
        new.status.clone_from(&old.status);
    }

    fn prepare_status_update(new: &mut Node, old: &Node) {
        new.spec.clone_from(&old.spec);
    }

    fn validate(node: &Node) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let spec = node.spec.clone().unwrap_or_default();
        validate_taints(&mut checks, spec.taints.as_deref().unwrap_or_default());
        let list = Path::new("spec.podCIDRs");
        let ranges = spec.pod_cidrs.unwrap_or_default();
        for (index, range) in ranges.iter().enumerate() {
            let valid = range.parse::<ipnet::IpNet>().is_ok();
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            checks.holds(valid, &list.index(index), range, detail);
        }
        let families: Vec<bool> = ranges
            .iter()
            .filter_map(|range| Some(range.parse::<ipnet::IpNet>().ok()?.addr().is_ipv4()))
            .collect();
        let detail = "may specify no more than one CIDR for each IP family";
        let distinct = families.len() <= 1 || (families.len() == 2 && families[0] != families[1]);
        checks.holds(distinct, &list, &ranges, detail);
        if let Some(first) = &spec.pod_cidr {
            let same = ranges.first().is_none_or(|range| range == first);
            let detail = "the first range must match `podCIDR`";
            checks.holds(same, &list, &ranges, detail);
        }
        checks.into_errors()
    }

    fn validate_update(new: &Node, old: &Node) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let (new, old) =
            (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        let kept = |before: &Option<String>, now: &Option<String>| {
            before.as_deref().unwrap_or_default().is_empty() || before == now
        };
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        checks.allowed(kept(&old.pod_cidr, &new.pod_cidr), &Path::new("spec.podCIDRs"), detail);
        let detail = "node updates may not change providerID except from \"\" to valid";
        let same = kept(&old.provider_id, &new.provider_id);
        checks.allowed(same, &Path::new("spec.providerID"), detail);
        checks.into_errors()
    }

    const FIELDS: &'static [&'static str] = &["spec.unschedulable"];

    fn fields(node: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", unschedulable(node).to_string())]
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Status", "string", "Whether it is ready, and takes new pods."),
        column("Roles", "string", "Roles by its labels."),
        table::AGE,
        column("Version", "string", "Version of its agent."),
        wide("Internal-IP", "string", "Address within the cluster."),
        wide("External-IP", "string", "Address from outside."),
        wide("OS-Image", "string", "Operating system."),
        wide("Kernel-Version", "string", "Kernel."),
        wide("Container-Runtime", "string", "What runs its containers."),
    ];

    fn row(node: &Node, now: Timestamp) -> Vec<Value> {
        let info = node.status.as_ref().and_then(|status| status.node_info.clone());
        let info = info.unwrap_or_default();
        let unknown = |text: &str| Value::from(table::or(Some(text), "<unknown>"));
        vec![
            table::name(node),
            Value::from(status(node)),
            Value::from(roles(node)),
            table::age(node, now),
            Value::from(info.kubelet_version),
            Value::from(address(node, "InternalIP")),
            Value::from(address(node, "ExternalIP")),
            unknown(&info.os_image),
            unknown(&info.kernel_version),
            unknown(&info.container_runtime_version),
        ]
    }

    const NUMBERS: &'static str = "
        AttachedVolume name=1* devicePath=2*
        ConfigMapNodeConfigSource namespace=1* name=2* uid=3 resourceVersion=4 kubeletConfigKey=5*
        ContainerImage names=1 sizeBytes=2
        DaemonEndpoint Port=1*
        Node metadata=1 spec=2 status=3
        NodeAddress type=1* address=2*
        NodeCondition type=1* status=2* lastHeartbeatTime=3 lastTransitionTime=4 reason=5 message=6
        NodeConfigSource configMap=2
        NodeConfigStatus assigned=1 active=2 lastKnownGood=3 error=4
        NodeDaemonEndpoints kubeletEndpoint=1
        NodeFeatures supplementalGroupsPolicy=1*
        NodeRuntimeHandler name=1* features=2
        NodeRuntimeHandlerFeatures recursiveReadOnlyMounts=1* userNamespaces=2*
        NodeSpec podCIDR=1 externalID=2 providerID=3 unschedulable=4 taints=5 configSource=6
          podCIDRs=7
        NodeStatus capacity=1 allocatable=2 phase=3 conditions=4 addresses=5 daemonEndpoints=6
          nodeInfo=7 images=8 volumesInUse=9 volumesAttached=10 config=11 runtimeHandlers=12
          features=13 declaredFeatures=14
        NodeSwapStatus capacity=1*
        NodeSystemInfo machineID=1* systemUUID=2* bootID=3* kernelVersion=4* osImage=5*
          containerRuntimeVersion=6* kubeletVersion=7* kubeProxyVersion=8* operatingSystem=9*
          architecture=10* swap=11
        Taint key=1* value=2 effect=3* timeAdded=4
    ";

    const FACTS: &'static str = "
        ContainerImage.names list=atomic
        NodeSpec.podCIDRs list=set patch=merge
        NodeSpec.taints list=atomic
        NodeStatus.addresses list=map:type patch=merge merge-key=type
        NodeStatus.conditions list=map:type patch=merge merge-key=type
        NodeStatus.declaredFeatures list=atomic
        NodeStatus.images list=atomic
        NodeStatus.runtimeHandlers list=atomic
        NodeStatus.volumesAttached list=atomic
        NodeStatus.volumesInUse list=atomic
    ";
}

fn validate_taints(checks: &mut Checks, taints: &[Taint]) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = Path::new("spec.taints").index(index);
        checks.named(&path.child("key"), &taint.key, names::qualified_name);
        let value = taint.value.as_deref().unwrap_or_default();
        checks.reasons(&path.child("value"), value, &names::label_value(value));
        let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
        checks.one_of(&path.child("effect"), &taint.effect, &effects);
        if !seen.insert((&taint.key, &taint.effect)) {
            let mut error = FieldError::duplicate(&path, taint);
            error.message.push_str(": taints must be unique by key and effect pair");
            checks.push(error);
        }
    }
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn status(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ready = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Ready");
    let mut text = match ready {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if unschedulable(node) {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Node) -> String {
    let roles: BTreeSet<&str> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_LABEL_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    table::or(Some(&roles.into_iter().collect::<Vec<_>>().join(",")), "<none>").to_owned()
}

fn address(node: &Node, kind: &str) -> String {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref());
    let found = addresses.unwrap_or_default().iter().find(|address| address.type_ == kind);
    table::or(found.map(|address| address.address.as_str()), "<none>").to_owned()
}
