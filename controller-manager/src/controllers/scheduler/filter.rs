//! Which nodes a pod may run on, and why not on the others.
//!
//! Never ranks nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

/// Taint of nodes that are not ready.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of cordoned nodes.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A host port a pod claims on its node.
pub type HostPort = (String, String, i32);

/// Why the pod cannot run on the node, in upstream's words; none where it can.
/// `taken` are the host ports of the node's pods.
pub fn refusal(pod: &Pod, node: &Node, taken: &BTreeSet<HostPort>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if is_cordoned(node) && !tolerates(tolerations, &taint(TAINT_UNSCHEDULABLE)) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if !matches_affinity(spec, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    if let Some(taint) = taints(node).into_iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerates(tolerations, taint)
    }) {
        let value = taint.value.unwrap_or_default();
        return Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    if host_ports(spec).iter().any(|port| taken.iter().any(|other| conflict(port, other))) {
        return Some("node(s) didn't have free ports for the requested pod ports".to_owned());
    }
    None
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// Whether the node's Ready condition is true.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

/// The node's taints; one that is not ready counts as tainted before anybody wrote so.
fn taints(node: &Node) -> Vec<Taint> {
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // Cordoning has a reason of its own, said before.
    taints.retain(|taint| taint.key != TAINT_UNSCHEDULABLE);
    if !is_ready(node) {
        taints.push(taint(TAINT_NOT_READY));
    }
    taints
}

/// Whether one of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| is_tolerated_by(taint, toleration))
}

/// Whether this toleration covers the taint.
pub fn is_tolerated_by(taint: &Taint, toleration: &Toleration) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists || value == taint.value.as_deref().unwrap_or_default())
}

/// Whether node selector and required node affinity allow the node.
pub fn matches_affinity(spec: &PodSpec, node: &Node) -> bool {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required =
        spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
            |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
        );
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| term_matches(term, node, labels))
        })
}

/// An empty term matches nothing; requirements of a term must all hold.
fn term_matches(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name: BTreeMap<String, String> =
        node.metadata.name.iter().map(|name| ("metadata.name".to_owned(), name.clone())).collect();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| requirement_holds(requirement, labels))
        && fields.iter().all(|requirement| requirement_holds(requirement, &name))
}

fn requirement_holds(
    requirement: &NodeSelectorRequirement,
    labels: &BTreeMap<String, String>,
) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(number(values.first())).is_some_and(|(held, limit)| held > limit),
        "Lt" => number(value).zip(number(values.first())).is_some_and(|(held, limit)| held < limit),
        _ => false,
    }
}

/// Host ports a pod claims: address, protocol, port.
pub fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let host_network = spec.host_network.unwrap_or(false);
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port
                .host_port
                .or(host_network.then_some(port.container_port))
                .filter(|port| *port > 0)?;
            let address = port
                .host_ip
                .clone()
                .filter(|ip| !ip.is_empty())
                .unwrap_or_else(|| "0.0.0.0".to_owned());
            Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
        })
        .collect()
}

fn conflict(a: &HostPort, b: &HostPort) -> bool {
    let any = |port: &HostPort| port.0 == "0.0.0.0" || port.0 == "::";
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || any(a) || any(b))
}
