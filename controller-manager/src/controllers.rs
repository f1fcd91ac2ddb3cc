//! The list of controllers: adding one is a file and a line here.
//!
//! Never more than the list.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{
    World, daemon_set, deployment, garbage_collector, namespace, node_lifecycle, pod_collector,
    replica_set, scheduler, service_account,
};

/// Starts a controller: registers its handlers at once, works its queue as the future.
type Start = fn(Arc<World>) -> BoxFuture<'static, ()>;

/// Every controller of this crate.
pub const ALL: &[Start] = &[
    deployment::start,
    replica_set::start,
    daemon_set::start,
    scheduler::start,
    node_lifecycle::start,
    pod_collector::start,
    garbage_collector::start,
    namespace::start,
    service_account::start,
];
