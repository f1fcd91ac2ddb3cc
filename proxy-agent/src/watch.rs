//! Services and EndpointSlices from the API, as changes. Never computes anything
//! from them, and never gives up: a broken watch is begun anew with back-off.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::catalog::{Change, ServiceName};

/// Changes that wait for the agent; a watch that is ahead waits too.
const QUEUED_CHANGES: usize = 4_096;
/// Between two complaints about one watch.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What a watch reports.
#[derive(Debug)]
pub enum Report {
    /// Something changed.
    Change(Change),
    /// The watch of this kind has delivered all there is, for the first time.
    Synced,
}

/// Number of `Report::Synced` until all is known.
pub const KINDS: usize = 3;

/// Starts the watches. They end when the receiver is dropped.
pub fn start(client: &Client, node_name: &str) -> mpsc::Receiver<Report> {
    let (sender, receiver) = mpsc::channel(QUEUED_CHANGES);
    let everything = watcher::Config::default();
    let services: Api<Service> = Api::all(client.clone());
    tokio::spawn(follow(
        services,
        everything.clone(),
        sender.clone(),
        |service| Change::Service(Box::new(service)),
        |name| Some(Change::ServiceGone(name)),
    ));
    let slices: Api<EndpointSlice> = Api::all(client.clone());
    tokio::spawn(follow(
        slices,
        everything.clone(),
        sender.clone(),
        |slice| Change::Slice(Box::new(slice)),
        |name| Some(Change::SliceGone(name)),
    ));
    let nodes: Api<Node> = Api::all(client.clone());
    tokio::spawn(follow(
        nodes,
        everything.fields(&format!("metadata.name={node_name}")),
        sender,
        |node| Change::Node(Box::new(node)),
        // What the node said last holds until it is back.
        |_| None,
    ));
    receiver
}

/// Reports one kind; after a new list also what vanished between.
async fn follow<K>(
    api: Api<K>,
    what: watcher::Config,
    sender: mpsc::Sender<Report>,
    changed: fn(K) -> Change,
    gone: fn(ServiceName) -> Option<Change>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut known: HashSet<ServiceName> = HashSet::new();
    let mut listed: HashSet<ServiceName> = HashSet::new();
    let mut is_synced = false;
    let mut complained: Option<std::time::Instant> = None;
    let mut events = client::retried(watcher(api, what)).boxed();
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = sender.closed() => return,
        };
        let mut reports = Vec::new();
        match event {
            Ok(None) => return,
            Err(error) => {
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(std::time::Instant::now());
                    tracing::warn!(kind = %K::kind(&()), %error, "cannot watch; trying again, rules stay as they are");
                }
            }
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(object))) => {
                listed.insert(name_of(&object));
                reports.push(Report::Change(changed(object)));
            }
            Ok(Some(Event::InitDone)) => {
                reports.extend(
                    known.difference(&listed).cloned().filter_map(gone).map(Report::Change),
                );
                known = std::mem::take(&mut listed);
                if !std::mem::replace(&mut is_synced, true) {
                    reports.push(Report::Synced);
                }
            }
            Ok(Some(Event::Apply(object))) => {
                known.insert(name_of(&object));
                reports.push(Report::Change(changed(object)));
            }
            Ok(Some(Event::Delete(object))) => {
                known.remove(&name_of(&object));
                reports.extend(gone(name_of(&object)).map(Report::Change));
            }
        }
        for report in reports {
            if sender.send(report).await.is_err() {
                return;
            }
        }
    }
}

fn name_of<K: Resource>(object: &K) -> ServiceName {
    ServiceName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
