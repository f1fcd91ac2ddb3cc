//! The ReplicaSets of a Deployment while a round is planned.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

/// The ReplicaSets of a Deployment, with the replicas planned so far.
pub struct Sets {
    /// All of them, oldest first.
    pub all: Vec<Arc<ReplicaSet>>,
    /// Planned replicas, by position in `all`.
    pub replicas: Vec<i32>,
    /// Position of the one with the present template.
    pub new: Option<usize>,
}

impl Sets {
    /// Positions of all but the new one, oldest first.
    pub fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.all.len()).filter(move |at| Some(*at) != new)
    }

    /// Sum of planned replicas.
    pub fn total(&self) -> i32 {
        self.replicas.iter().sum()
    }

    /// Plans a size; says whether it differs from the plan so far.
    pub fn resize(&mut self, at: usize, to: i32) -> bool {
        std::mem::replace(&mut self.replicas[at], to) != to
    }
}
