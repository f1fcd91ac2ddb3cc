//! Whether the cluster's DNS works, by a real query through its cluster IP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use super::broker::Broker;

/// Between two tries.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For one query's answer.
const DNS_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Waits until the cluster's DNS answers a query that is sent from a node to its
/// cluster IP: address, proxy, pod and its sight of the API are all tried by that.
pub async fn wait(broker: &Broker, from: &str, dns: Ipv4Addr) -> Result<()> {
    let to = SocketAddr::from((dns, 53));
    loop {
        if let Ok(Ok(true)) =
            tokio::time::timeout(DNS_ANSWER_TIMEOUT, answers(broker, from, to)).await
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn answers(broker: &Broker, from: &str, to: SocketAddr) -> Result<bool> {
    let socket = broker.datagrams(from, to).await?;
    socket.send(&query("kubernetes.default.svc.cluster.local")).await?;
    let mut answer = [0u8; 512];
    let length = socket.recv(&mut answer).await?;
    // No error code, and at least one record in the answer section.
    Ok(length > 12 && answer[3] & 0x0f == 0 && u16::from_be_bytes([answer[6], answer[7]]) > 0)
}

/// A query for the A records of `name`.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x2a, 0x01, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}
