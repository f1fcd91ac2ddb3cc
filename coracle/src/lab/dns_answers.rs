//! Whether the cluster's DNS works, by real queries through its cluster IP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::broker::Broker;

/// Between two queries. None waits for the one before: before the rules are there, queries are
/// lost, since the kernel says only a few times a second that an address is unreachable.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// For one query's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Waits until the cluster's DNS answers a query that is sent from a node to its
/// cluster IP: address, proxy, pod and its sight of the API are all tried by that.
pub async fn wait(broker: &Broker, from: &str, dns: Ipv4Addr) -> Result<()> {
    let to = SocketAddr::from((dns, 53));
    until_one_answers(async || matches!(ask(broker, from, to).await, Ok(true))).await;
    Ok(())
}

/// Asks again and again, without waiting for those that have been asked, until one says yes.
async fn until_one_answers(ask: impl AsyncFn() -> bool) {
    let mut asked = FuturesUnordered::new();
    loop {
        asked.push(timeout(ANSWER_TIMEOUT, ask()));
        let pause = sleep(ASK_AGAIN);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(answer) = asked.next() => if answer == Ok(true) {
                    return;
                },
            }
        }
    }
}

/// Sends one query, from a port of its own: what the rules did to the one before is not remembered.
async fn ask(broker: &Broker, from: &str, to: SocketAddr) -> Result<bool> {
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_query_does_not_wait_for_the_one_before() {
        let (asked, seen) = watch::channel(0);
        // The first is answered when two more have been asked; those have no answer.
        let ask = async || {
            asked.send_modify(|count| *count += 1);
            if *seen.borrow() > 1 {
                return pending().await;
            }
            seen.clone().wait_for(|count| *count == 3).await.is_ok()
        };
        let done = timeout(Duration::from_secs(60), until_one_answers(ask)).await;
        assert!(done.is_ok(), "{} queries were sent", *seen.borrow());
    }
}
