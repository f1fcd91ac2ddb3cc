//! Services, EndpointSlices and the own Node from the API, as changes.

use client::{Key, Life, Update, follow};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::catalog::{Change, ServiceName};

/// Changes that wait for the agent; a watch that is ahead waits too.
const QUEUED_CHANGES: usize = 4_096;

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
    let services: Api<Service> = Api::all(client.clone());
    tokio::spawn(report(
        follow(services, ""),
        sender.clone(),
        |service| Change::Service(Box::new(service)),
        |name| Some(Change::ServiceGone(name)),
    ));
    let slices: Api<EndpointSlice> = Api::all(client.clone());
    tokio::spawn(report(
        follow(slices, ""),
        sender.clone(),
        |slice| Change::Slice(Box::new(slice)),
        |name| Some(Change::SliceGone(name)),
    ));
    let nodes: Api<Node> = Api::all(client.clone());
    tokio::spawn(report(
        follow(nodes, &format!("metadata.name={node_name}")),
        sender,
        |node| Change::Node(Box::new(node)),
        // What the node said last holds until it is back.
        |_| None,
    ));
    receiver
}

/// Reports one kind.
async fn report<K>(
    mut updates: BoxStream<'static, Update<K>>,
    sender: mpsc::Sender<Report>,
    changed: fn(K) -> Change,
    gone: fn(ServiceName) -> Option<Change>,
) {
    let mut is_synced = false;
    loop {
        let update = tokio::select! {
            update = updates.next() => update,
            () = sender.closed() => return,
        };
        let report = match update {
            Some(Update::Set(object)) => Some(Report::Change(changed(object))),
            Some(Update::Gone(Life { key: Key { namespace, name }, .. })) => {
                gone(ServiceName { namespace, name }).map(Report::Change)
            }
            Some(Update::Synced) if !is_synced => {
                is_synced = true;
                Some(Report::Synced)
            }
            Some(Update::Listing | Update::Synced) => None,
            None => return,
        };
        if let Some(report) = report
            && sender.send(report).await.is_err()
        {
            return;
        }
    }
}
