//! The addresses of the API servers: each keeps a leased key in the store while it lives, and
//! each writes the addresses of all of them to `default/kubernetes`.
//!
//! Never lists a loopback address, and never writes what is right already.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};
use store::{ListOptions, Op};
use tracing::warn;

use crate::{registry::put, server::Server};

pub use crate::keys::SERVERS as PREFIX;

/// How long a server counts as alive after its last word, as upstream.
const LEASE_S: i64 = 15;

/// How long an ending server tries to say so.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);

/// Under which address and port the cluster reaches this server.
#[derive(Debug, Clone, Copy)]
pub struct Advertised {
    /// `--advertise-address`.
    pub address: IpAddr,
    /// The port that is served.
    pub port: u16,
}

/// Says that this server lives, and writes who else does to `default/kubernetes`.
pub async fn publish(server: &Server, advertised: Advertised) -> anyhow::Result<()> {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let Advertised { address, port } = advertised;
    if address.is_loopback() {
        if !WARNED.swap(true, Ordering::Relaxed) {
            warn!(
                "{address} is a loopback address that no pod can reach: default/kubernetes gets no endpoints; set --advertise-address"
            );
        }
        return Ok(());
    }
    renew(server, address).await?;
    let mut addresses = living(server, address).await?;
    addresses.insert(address);
    write_all(server, &addresses, port).await
}

/// Says that this server ends, and takes its address from `default/kubernetes`: clients and
/// the other servers need not wait until its lease does. The last server's address stays, as
/// upstream: nothing would be better than it.
pub async fn withdraw(server: &Server, advertised: Advertised) {
    let Advertised { address, port } = advertised;
    if address.is_loopback() {
        return;
    }
    let withdrawn = async {
        let key = key(address);
        server.store.txn(vec![], vec![Op::Delete { key }]).await?;
        let rest = living(server, address).await?;
        if rest.is_empty() {
            return Ok(());
        }
        write_all(server, &rest, port).await
    };
    match tokio::time::timeout(WITHDRAW_LIMIT, withdrawn).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("withdrawing this server's address: {error:#}"),
        Err(_) => warn!("this server's address stays until its lease ends: the store is slow"),
    }
}

/// Writes the addresses, all of one family, to Endpoints and EndpointSlice.
async fn write_all(server: &Server, addresses: &BTreeSet<IpAddr>, port: u16) -> anyhow::Result<()> {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": ips,
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        }],
    });
    let ready = |ip| json!({ "addresses": [ip], "conditions": { "ready": true } });
    let ipv4 = addresses.iter().all(IpAddr::is_ipv4);
    let slice = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": if ipv4 { "IPv4" } else { "IPv6" },
        "endpoints": addresses.iter().map(ready).collect::<Vec<_>>(),
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    write(server, "", "endpoints", endpoints).await?;
    write(server, "discovery.k8s.io", "endpointslices", slice).await
}

fn key(address: IpAddr) -> String {
    format!("{PREFIX}{address}")
}

async fn renew(server: &Server, address: IpAddr) -> anyhow::Result<()> {
    let told = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {},
        "subsets": [{ "addresses": [{ "ip": address }] }],
    });
    let lease = server.store.grant_lease(LEASE_S).await?;
    let put = Op::Put { key: key(address), value: told.to_string().into(), lease };
    server.store.txn(vec![], vec![put]).await?;
    Ok(())
}

/// Every living server's address, of this one's family: all endpoints of a slice share one.
async fn living(server: &Server, own: IpAddr) -> anyhow::Result<BTreeSet<IpAddr>> {
    let options = ListOptions { prefix: PREFIX.to_owned(), ..ListOptions::default() };
    let listed = server.store.list(options).await?;
    let keys = listed.items.iter();
    let addresses = keys.filter_map(|kv| kv.key.strip_prefix(PREFIX)?.parse::<IpAddr>().ok());
    Ok(addresses.filter(|address| address.is_ipv4() == own.is_ipv4()).collect())
}

/// Writes an object where it is missing, or says something else about the addresses.
async fn write(server: &Server, group: &str, plural: &str, wanted: Value) -> anyhow::Result<()> {
    let resource = server.resources.find(group, "v1", plural);
    let resource = resource.with_context(|| format!("{plural} are not served"))?;
    let stored = server.store.get(&resource.store_key(Some("default"), "kubernetes"), 0).await?;
    if let Some(kv) = stored.kv {
        let stored: Value = serde_json::from_slice(&kv.value).unwrap_or_default();
        if contains(&stored, &wanted) {
            return Ok(());
        }
    }
    let put = put(server, &resource, "default", "kubernetes", wanted).await;
    put.map_err(|failure| anyhow::anyhow!("publishing {plural} default/kubernetes: {}", failure.0))
}

/// Whether every field of `wanted` has its value in `stored`; lists are equally long.
fn contains(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => wanted.iter().all(|(field, wanted)| {
            let stored = stored.get(field);
            stored.is_some_and(|stored| contains(stored, wanted))
        }),
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(s, w)| contains(s, w))
        }
        _ => stored == wanted,
    }
}
