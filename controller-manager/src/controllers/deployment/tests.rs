//! A Deployment run against a model of the ReplicaSets below it. Never talks to an API server.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Action, Observed, reconcile};
use super::{facts, status_patch};

/// A Deployment with its ReplicaSets and the time.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: i64,
    log: Vec<String>,
}

impl World {
    fn new(replicas: i32, strategy: Value) -> Self {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "deployment", "generation": 1},
            "spec": {
                "replicas": replicas, "strategy": strategy, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            },
        });
        let deployment = serde_json::from_value(deployment).expect("the Deployment is well formed");
        Self { deployment, sets: Vec::new(), now: 1_000_000, log: Vec::new() }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&self.deployment).expect("a Deployment is JSON");
        change(&mut value);
        self.deployment = serde_json::from_value(value).expect("the Deployment is well formed");
        *self.deployment.metadata.generation.get_or_insert(0) += 1;
    }

    fn image(&mut self, image: &str) {
        self.edit(|value| {
            value["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        });
    }

    /// One round; says whether anything was written.
    fn step(&mut self) -> bool {
        self.now += 1;
        let now = Timestamp::from_second(self.now).expect("the time is in range");
        let replica_sets = self.sets.iter().cloned().map(Arc::new).collect();
        let plan =
            reconcile(Observed { deployment: &self.deployment, replica_sets, pods: &[] }, now);
        let wrote = !plan.actions.is_empty();
        plan.actions.into_iter().for_each(|action| self.apply(action, now));
        wrote
    }

    fn apply(&mut self, action: Action, now: Timestamp) {
        let at = |set: &Arc<ReplicaSet>, sets: &[ReplicaSet]| {
            sets.iter()
                .position(|held| held.metadata.uid == set.metadata.uid)
                .expect("the set exists")
        };
        match action {
            Action::Create(set) => {
                let mut set = *set;
                set.metadata.uid = set.metadata.name.clone();
                set.metadata.creation_timestamp = Some(Time(now));
                set.metadata.generation = Some(1);
                self.log.push(format!("new {}", facts::replicas(&set)));
                self.sets.push(set);
            }
            Action::Annotate(set, annotations, min_ready) => {
                let position = at(&set, &self.sets);
                let held = &mut self.sets[position];
                held.metadata.annotations = Some(annotations);
                held.spec.get_or_insert_default().min_ready_seconds = Some(min_ready);
            }
            Action::Scale(set, to) => {
                let position = at(&set, &self.sets);
                let held = &mut self.sets[position];
                self.log.push(format!("#{position} {}>{to}", facts::replicas(held)));
                held.spec.get_or_insert_default().replicas = Some(to);
                held.metadata
                    .annotations
                    .get_or_insert_default()
                    .extend(facts::scale_annotations(&self.deployment));
            }
            Action::Delete(set) => {
                let position = at(&set, &self.sets);
                self.log.push(format!("#{position} deleted"));
                self.sets.remove(position);
            }
            Action::SetRevision(revision) => {
                let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(facts::ANNOTATION_REVISION.to_owned(), revision);
            }
            Action::Status(status) => self.deployment.status = Some(*status),
            Action::Adopt(_) | Action::Release(_) => panic!("nobody is an orphan here"),
        }
    }

    /// The ReplicaSets bring up to `ready` more pods to readiness and drop surplus ones.
    fn pods_follow(&mut self, mut ready: i32) {
        for set in &mut self.sets {
            let wanted = facts::replicas(set);
            let held = facts::available(set).min(wanted);
            let more = (wanted - held).min(ready);
            ready -= more;
            set.status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(held + more),
                available_replicas: Some(held + more),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        }
    }

    /// Rounds until nothing is written any more.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.pods_follow(1);
            if !self.step() {
                return;
            }
        }
        panic!("no fixed point: {:?}", self.log);
    }

    fn condition(&self, type_: &str) -> String {
        let conditions =
            self.deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let found = conditions.into_iter().find(|condition| condition.type_ == type_);
        found
            .map(|found| format!("{} {}", found.status, found.reason.as_deref().unwrap_or("-")))
            .unwrap_or_default()
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(facts::replicas).collect()
    }
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

#[test]
fn a_rollout_goes_step_by_step() {
    let mut world = World::new(3, rolling(json!("25%"), json!("25%")));
    world.settle();
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    world.image("v2");
    world.settle();
    assert_eq!(world.log.join(", "), "new 3, new 1, #0 3>2, #1 1>2, #0 2>1, #1 2>3, #0 1>0");
    assert_eq!(world.sizes(), [0, 3]);
    assert_eq!(facts::revision(world.deployment.metadata.annotations.as_ref()), 2);
}

#[test]
fn going_back_reuses_the_former_set_under_a_new_revision() {
    let mut world = World::new(2, rolling(json!(1), json!(0)));
    world.settle();
    for image in ["v2", "v1"] {
        world.image(image);
        world.settle();
    }
    assert_eq!(world.sizes(), [2, 0]);
    let annotations = world.sets[0].metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations[facts::ANNOTATION_REVISION], "3");
    assert_eq!(annotations[facts::ANNOTATION_REVISION_HISTORY], "1");
}

#[test]
fn history_is_cut_at_its_limit() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        world.image(image);
        world.settle();
    }
    let revisions: Vec<i64> =
        world.sets.iter().map(|set| facts::revision(set.metadata.annotations.as_ref())).collect();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn recreate_empties_the_old_set_first() {
    let mut world = World::new(3, json!({"type": "Recreate"}));
    world.settle();
    world.image("v2");
    world.settle();
    assert_eq!(world.log.join(", "), "new 3, #0 3>0, new 3");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(2, rolling(json!(1), json!(0)));
    world.settle();
    world.edit(|value| value["spec"]["paused"] = json!(true));
    world.image("v2");
    world.edit(|value| value["spec"]["replicas"] = json!(4));
    world.settle();
    assert_eq!(
        (world.sizes(), world.condition("Progressing")),
        (vec![4], "Unknown DeploymentPaused".to_owned())
    );
    world.edit(|value| value["spec"]["paused"] = json!(false));
    world.settle();
    assert_eq!(
        (world.sizes(), world.condition("Progressing")),
        (vec![0, 4], "True NewReplicaSetAvailable".to_owned())
    );
}

#[test]
fn a_rollout_that_stands_still_says_so() {
    let mut world = World::new(3, rolling(json!(1), json!(0)));
    world.settle();
    world.image("broken");
    while world.step() {
        world.pods_follow(0);
    }
    assert_eq!(world.sizes(), [3, 1]);
    world.now += 601;
    assert!(world.step());
    assert_eq!(world.condition("Progressing"), "False ProgressDeadlineExceeded");
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    assert!(!world.step());
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_shared_out() {
    let mut world = World::new(10, rolling(json!(3), json!(2)));
    world.settle();
    world.image("v2");
    while world.step() {
        world.pods_follow(0);
    }
    let before = world.sizes();
    world.edit(|value| value["spec"]["replicas"] = json!(20));
    world.step();
    let after = world.sizes();
    assert_eq!(after.iter().sum::<i32>(), 23);
    assert!(
        before.iter().zip(&after).all(|(before, after)| after > before),
        "{before:?} {after:?}"
    );
    world.settle();
    assert_eq!(world.sizes(), [0, 20]);
}

#[test]
fn fields_that_are_gone_become_null() {
    let mut world = World::new(1, json!({}));
    world.deployment.status = serde_json::from_value(json!({"unavailableReplicas": 1})).ok();
    let patch = status_patch(&world.deployment, &Default::default());
    assert_eq!(patch["status"], json!({"unavailableReplicas": null}));
}

proptest! {
    /// Whatever is edited when, and however slowly pods become ready: at no time are
    /// there more pods than maxSurge allows or fewer available ones than maxUnavailable
    /// protects, and in the end all is new.
    #[test]
    fn rollouts_keep_their_promises(
        replicas in 1..12_i32, surge in 0..4_i32, unavailable in 0..4_i32,
        readiness in prop::collection::vec(0..3_i32, 0..20), images in prop::collection::vec(1..4_u8, 1..4),
    ) {
        prop_assume!(surge + unavailable > 0);
        let mut world = World::new(replicas, rolling(json!(surge), json!(unavailable)));
        world.settle();
        for image in images {
            world.image(&format!("v{image}"));
            for ready in &readiness {
                world.step();
                let total: i32 = world.sizes().iter().sum();
                prop_assert!(total <= replicas + surge, "{total} pods: {:?}", world.log);
                world.pods_follow(*ready);
                let available: i32 = world.sets.iter().map(facts::available).sum();
                prop_assert!(available >= replicas - unavailable.min(replicas), "{available} available: {:?}", world.log);
            }
        }
        world.settle();
        let total: i32 = world.sizes().iter().sum();
        prop_assert_eq!(total, replicas);
        prop_assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    }
}
