//! Random histories of one Service: what is planned from its state after a change is what is
//! planned from everything, and a state made anew from the slices plans the same.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use endpoints_controller::pack::Plan;
use endpoints_controller::state::{PodChange, State};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use text::{Scene, apply, plan, scene};

const MAX: usize = 3;

/// A pod of the histories.
#[derive(Clone, Debug)]
struct PodLine {
    ready: bool,
    leaving: bool,
    other_port: bool,
    moved: bool,
    second_node: bool,
    both_families: bool,
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Change {
    Pod(u8, Option<PodLine>),
    /// A node comes into a zone, or goes.
    Node(bool, Option<bool>),
    Service(u8),
}

/// The cluster as the changes left it.
#[derive(Clone, Debug, Default)]
struct Cluster {
    pods: BTreeMap<u8, PodLine>,
    nodes: [Option<bool>; 2],
    service: u8,
}

const SERVICES: [&str; 4] = [
    "svc web http:80>http",
    "svc web http:80>8080 dual",
    "svc web http:80>http publish",
    "svc web headless",
];

impl Cluster {
    /// Applies a change; returns the pods it may concern.
    fn apply(&mut self, change: &Change) -> Vec<u8> {
        match change {
            Change::Pod(number, Some(line)) => drop(self.pods.insert(*number, line.clone())),
            Change::Pod(number, None) => drop(self.pods.remove(number)),
            Change::Node(second, zone) => self.nodes[usize::from(*second)] = *zone,
            Change::Service(number) => self.service = *number,
        }
        match change {
            Change::Pod(number, _) => vec![*number],
            Change::Node(second, _) => {
                let here = self.pods.iter().filter(|(_, pod)| pod.second_node == *second);
                here.map(|(number, _)| *number).collect()
            }
            Change::Service(_) => Vec::new(),
        }
    }

    fn scene(&self) -> Scene {
        let mut text = format!("{}\n", SERVICES[usize::from(self.service)]);
        for (number, zone) in self.nodes.iter().enumerate() {
            if let Some(zone) = zone {
                text += &format!("node n{number} z{}\n", u8::from(*zone));
            }
        }
        for (number, pod) in &self.pods {
            let host = if pod.moved { 100 + number } else { *number };
            let second = if pod.both_families { format!(",fd00::{host}") } else { String::new() };
            let node = u8::from(pod.second_node);
            let ready = if pod.ready { "ready" } else { "" };
            let leaving = if pod.leaving { "leaving" } else { "" };
            let port = if pod.other_port { 9090 } else { 8080 };
            text += &format!(
                "pod p{number} 10.0.0.{host}{second} n{node} {ready} {leaving} http={port}\n"
            );
        }
        scene(&text)
    }
}

fn pod_line() -> impl Strategy<Value = PodLine> {
    // Most pods are alike: else no slice has more than one.
    let rarely = || prop::bool::weighted(0.1);
    (any::<bool>(), rarely(), rarely(), rarely(), any::<bool>(), any::<bool>()).prop_map(
        |(ready, leaving, other_port, moved, second_node, both_families)| PodLine {
            ready,
            leaving,
            other_port,
            moved,
            second_node,
            both_families,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => (0..20_u8, prop::option::weighted(0.8, pod_line()))
            .prop_map(|(number, line)| Change::Pod(number, line)),
        2 => (any::<bool>(), prop::option::weighted(0.9, any::<bool>()))
            .prop_map(|(second, zone)| Change::Node(second, zone)),
        1 => (0..4_u8).prop_map(Change::Service),
    ]
}

/// Steps of one to four changes that are seen together.
fn history() -> impl Strategy<Value = Vec<Vec<Change>>> {
    prop::collection::vec(prop::collection::vec(change(), 1..4), 1..40)
}

/// A plan in an order of its own.
fn in_order(plan: &Plan) -> (Vec<String>, Vec<String>, Vec<String>) {
    let text = |slices: &[EndpointSlice]| {
        let mut texts: Vec<String> =
            slices.iter().map(|slice| serde_json::json!(slice).to_string()).collect();
        texts.sort();
        texts
    };
    let mut gone: Vec<String> =
        plan.delete.iter().map(|slice| slice.metadata.name.clone().unwrap_or_default()).collect();
    gone.sort();
    (text(&plan.create), text(&plan.update), gone)
}

fn pod_changes(scene: &Scene, touched: &BTreeSet<u8>) -> Vec<PodChange> {
    let change = |number: &u8| {
        let name = format!("p{number}");
        let pod = scene.pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(&name)).cloned();
        let node = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
        let node = node.and_then(|node| scene.nodes.get(&node).cloned());
        PodChange { name, pod, node }
    };
    touched.iter().map(change).collect()
}

/// A Service whose slices are kept, from its state where there is one.
#[derive(Default)]
struct Kept {
    slices: Vec<Arc<EndpointSlice>>,
    /// The last Service, the number it was made from, and the state that goes with it.
    state: Option<(u8, Arc<Service>, State)>,
    incremental_steps: usize,
}

impl Kept {
    fn step(&mut self, cluster: &Cluster, touched: &BTreeSet<u8>) -> Result<(), TestCaseError> {
        let scene = cluster.scene();
        let full = plan(&scene, &self.slices, MAX);
        let known = self.state.take().filter(|(number, ..)| *number == cluster.service);
        let service = match &known {
            Some((_, service, _)) => service.clone(),
            None => Arc::new(scene.service.clone()),
        };
        let mut kept = None;
        if let Some((_, _, mut state)) = known {
            let again = &mut State::new(service.clone(), self.slices.clone());
            let continued = state.change(pod_changes(&scene, touched), None, MAX);
            let restarted = again.change(pod_changes(&scene, touched), None, MAX);
            prop_assert_eq!(continued.as_ref().map(in_order), restarted.as_ref().map(in_order));
            if let Some(plan) = &continued {
                prop_assert_eq!(in_order(plan), in_order(&full));
                self.incremental_steps += 1;
                kept = Some(state);
            }
        }
        let before = std::mem::take(&mut self.slices);
        self.slices = apply(full, &before);
        let mut state = match kept {
            Some(state) => state,
            None => State::new(service.clone(), []),
        };
        for slice in &self.slices {
            // Settling a slice that is as it was changes nothing.
            state.settle(EndpointSlice::clone(slice));
        }
        self.state = Some((cluster.service, service, state));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changes_are_planned_as_everything_is(history in history()) {
        let (mut cluster, mut kept) = (Cluster::default(), Kept::default());
        for step in &history {
            let touched = step.iter().flat_map(|change| cluster.apply(change)).collect();
            kept.step(&cluster, &touched)?;
        }
    }
}

/// Ninety ready pods, and the state of their slices.
fn crowd() -> (Cluster, Kept) {
    let line = PodLine {
        ready: true,
        leaving: false,
        other_port: false,
        moved: false,
        second_node: false,
        both_families: false,
    };
    let mut cluster = Cluster { nodes: [Some(true), Some(false)], ..Cluster::default() };
    cluster.pods = (0..90).map(|number| (number, line.clone())).collect();
    let mut kept = Kept::default();
    kept.step(&cluster, &BTreeSet::new()).expect("the first plan");
    (cluster, kept)
}

#[test]
fn a_flip_is_planned_from_the_state_and_writes_one_slice() {
    let (mut cluster, mut kept) = crowd();
    for number in [0, 7, 89] {
        let pod = cluster.pods.get_mut(&number).expect("a pod of the crowd");
        pod.ready = !pod.ready;
        let before = kept.slices.clone();
        kept.step(&cluster, &[number].into()).expect("the same plan");
        let written = kept.slices.iter().zip(&before).filter(|(a, b)| a != b).count();
        assert_eq!(written, 1, "pod {number}");
    }
    assert_eq!(kept.incremental_steps, 3);
}

#[test]
fn a_pod_that_did_not_change_writes_nothing() {
    let (cluster, mut kept) = crowd();
    let (_, service, mut state) = kept.state.take().expect("the crowd's state");
    let changes = pod_changes(&cluster.scene(), &(0..90).collect());
    let plan = state.change(changes, None, MAX).expect("planned from the state");
    assert!(plan.is_empty(), "{plan:?}");
    assert!(state.is_of(&service));
}
