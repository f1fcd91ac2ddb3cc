//! Which nodes a DaemonSet is for, and the pod that it has there.
//!
//! Never looks at the pods that exist.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    PodTemplateSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::controllers::scheduler::filter::{matches_affinity, tolerates};
use crate::owner::controller_reference;
use crate::pod::node_name;

/// Label of a pod with the hash of the template that it was made of.
pub const LABEL_HASH: &str = "controller-revision-hash";
/// Label of a pod with the number of the template that it was made of.
pub const LABEL_GENERATION: &str = "pod-template-generation";
/// The number of the present template, on the DaemonSet.
const ANNOTATION_GENERATION: &str = "deprecated.daemonset.template.generation";
/// The field of a node that pins a pod to it.
const NODE_NAME_FIELD: &str = "metadata.name";

/// What a DaemonSet wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// A pod.
    Run,
    /// No new pod, but one that runs may stay: a taint `NoSchedule` came after it.
    Stay,
    /// No pod.
    Leave,
}

/// What the set wants of the node. Cordons and nodes that are not ready do not count, as
/// its pods tolerate them.
pub fn fit(set: &DaemonSet, node: &Node) -> Fit {
    let spec = pod_spec(set);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let pinned = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if pinned.is_some_and(|pinned| pinned != name) || !matches_affinity(&spec, node) {
        return Fit::Leave;
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let untolerated = |effect: &str| {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints.filter(|taint| taint.effect == effect).any(|taint| !tolerates(tolerations, taint))
    };
    if untolerated("NoExecute") {
        Fit::Leave
    } else if untolerated("NoSchedule") {
        Fit::Stay
    } else {
        Fit::Run
    }
}

/// The template's pod with the tolerations that every daemon has.
fn pod_spec(set: &DaemonSet) -> PodSpec {
    let mut spec = template(set).spec.unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    let everywhere = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    let unconnected = host_network.then_some(("network-unavailable", "NoSchedule"));
    for (taint, effect) in everywhere.into_iter().chain(unconnected) {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{taint}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    spec
}

fn template(set: &DaemonSet) -> PodTemplateSpec {
    set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

/// A new pod for the node, named by the API server. The scheduler binds it: only that node
/// satisfies its affinity.
pub fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let meta = template(set).metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(LABEL_HASH.to_owned(), hash.to_owned());
    if let Some(generation) = template_generation(set) {
        labels.insert(LABEL_GENERATION.to_owned(), generation.to_owned());
    }
    let mut spec = pod_spec(set);
    pin(spec.affinity.get_or_insert_default(), node);
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Other required terms have done their work when the node was chosen, and go.
fn pin(affinity: &mut Affinity, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod runs on, or that it is pinned to before it is bound.
pub fn target_node(pod: &Pod) -> Option<&str> {
    if let Some(name) = node_name(pod) {
        return Some(name);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
    let required = affinity
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut fields =
        required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let field = fields.find(|field| field.key == NODE_NAME_FIELD && field.operator == "In")?;
    match field.values.as_deref()? {
        [name] => Some(name),
        _ => None,
    }
}

fn template_generation(set: &DaemonSet) -> Option<&String> {
    set.metadata.annotations.as_ref()?.get(ANNOTATION_GENERATION)
}

/// Whether the pod is of the set's present template, by number or by hash: a number survives
/// a change of how hashes are made, a hash the way to an old template and back.
pub fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let label = |name: &str| pod.metadata.labels.as_ref()?.get(name);
    label(LABEL_HASH).is_some_and(|label| label == hash)
        || template_generation(set)
            .is_some_and(|generation| label(LABEL_GENERATION) == Some(generation))
}
