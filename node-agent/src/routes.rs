//! Routes to the other nodes' pods: their pod ranges by their own addresses.
//!
//! All nodes share a link, so nothing is encapsulated. Touches only routes that carry its own
//! protocol number.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

/// Marks this agent's routes: a number that no routing daemon uses.
const PROTOCOL: u8 = 107;

/// Where the pods of a node are: its pod range and address, once it has both.
fn wanted_route(node: &Node) -> Option<(Ipv4Net, Ipv4Addr)> {
    let cidr = node.spec.as_ref()?.pod_cidr.as_deref()?.parse().ok()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let address = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    Some((cidr, address.address.parse().ok()?))
}

/// The routes for all nodes but this one.
pub fn wanted<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    myself: &str,
) -> BTreeMap<Ipv4Net, Ipv4Addr> {
    nodes.into_iter().filter(|node| node.name_any() != myself).filter_map(wanted_route).collect()
}

/// Makes the kernel's routes with this agent's mark be exactly `wanted`.
pub async fn apply(handle: &Handle, wanted: &BTreeMap<Ipv4Net, Ipv4Addr>) -> Result<()> {
    let installed = installed(handle).await?;
    for (range, message) in &installed {
        if !wanted.contains_key(range) {
            handle
                .route()
                .del(message.clone())
                .execute()
                .await
                .with_context(|| format!("remove the route to {range}"))?;
        }
    }
    for (range, gateway) in wanted {
        if installed.get(range).and_then(gateway_of) == Some(*gateway) {
            continue;
        }
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .gateway(*gateway)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .build();
        handle
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .with_context(|| format!("route {range} by {gateway}"))?;
    }
    Ok(())
}

fn gateway_of(message: &RouteMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(*ip),
        _ => None,
    })
}

async fn installed(handle: &Handle) -> Result<BTreeMap<Ipv4Net, RouteMessage>> {
    let mut routes = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let mut mine = BTreeMap::new();
    while let Some(route) = routes.try_next().await.context("list routes")? {
        if u8::from(route.header.protocol) != PROTOCOL {
            continue;
        }
        let destination = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(*ip),
            _ => None,
        });
        if let Some(range) =
            destination.and_then(|ip| Ipv4Net::new(ip, route.header.destination_prefix_length).ok())
        {
            mine.insert(range, route);
        }
    }
    Ok(mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_with_range_and_address_are_wanted() {
        let node = |name: &str, cidr: Option<&str>, ip: &str| -> Node {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "spec": {"podCIDR": cidr},
                "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]}}))
            .unwrap()
        };
        let nodes = [
            node("me", Some("10.244.0.0/24"), "192.168.77.10"),
            node("a", Some("10.244.1.0/24"), "192.168.77.11"),
            node("b", None, "192.168.77.12"),
            node("c", Some("nonsense"), "192.168.77.13"),
        ];
        let text: Vec<String> =
            wanted(&nodes, "me").iter().map(|(range, via)| format!("{range} via {via}")).collect();
        assert_eq!(text, ["10.244.1.0/24 via 192.168.77.11"]);
    }
}
