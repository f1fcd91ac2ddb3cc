//! A pod's network: its own namespace, and one point-to-point veth to its node.
//!
//! The node's end carries the gateway address 169.254.1.1 (link scope, the same on every pod's
//! link) and a /32 route to the pod; the pod's end has its address as a /32 and a default route
//! by that gateway. No bridge: every packet between two pods is routed by the node, so that
//! address translation sees replies too. Never runs in a threaded process.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::AddressScope;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::spec::NetworkSpec;

/// The next hop of every pod; the node answers ARP for it on every pod's link.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The node's end of a pod's link: 15 bytes at most, as the kernel wants.
pub fn node_side_name(uid: &str) -> String {
    format!("veth{}", short(uid))
}

fn short(uid: &str) -> String {
    uid.chars().filter(char::is_ascii_alphanumeric).take(11).collect()
}

/// Leaves the calling thread in a new network namespace that is linked to the former one.
pub fn enter_new(uid: &str, spec: &NetworkSpec) -> Result<()> {
    let node = File::open("/proc/self/ns/net").context("open the node's network namespace")?;
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
    let pod = File::open("/proc/self/ns/net").context("open the pod's network namespace")?;
    let peer = format!("vetp{}", short(uid));
    setns(&node, CloneFlags::CLONE_NEWNET).context("return to the node's network namespace")?;
    with_netlink(async |handle| link_node_side(&handle, uid, &peer, spec, &pod).await)?;
    setns(&pod, CloneFlags::CLONE_NEWNET).context("enter the pod's network namespace")?;
    with_netlink(async |handle| link_pod_side(&handle, &peer, spec.pod_ip).await)
}

/// Runs netlink requests on a runtime without threads of its own, in the current namespace.
fn with_netlink(work: impl AsyncFnOnce(Handle) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("open a netlink socket")?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        result
    })
}

async fn index_of(handle: &Handle, name: &str) -> Result<Option<u32>> {
    match handle.link().get().match_name(name.to_owned()).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENODEV => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("look up interface {name}")),
    }
}

async fn must_index(handle: &Handle, name: &str) -> Result<u32> {
    index_of(handle, name).await?.with_context(|| format!("interface {name} has gone"))
}

async fn link_node_side(
    handle: &Handle,
    uid: &str,
    peer: &str,
    spec: &NetworkSpec,
    pod: &File,
) -> Result<()> {
    let name = node_side_name(uid);
    // A former sandbox of this pod may have ended a moment ago: its link goes with its namespace, later.
    if let Some(index) = index_of(handle, &name).await? {
        handle.link().del(index).execute().await.ok();
    }
    handle
        .link()
        .add(LinkVeth::new(&name, peer).build())
        .execute()
        .await
        .with_context(|| format!("make veth {name}"))?;
    let (node_index, peer_index) =
        (must_index(handle, &name).await?, must_index(handle, peer).await?);
    let move_peer = LinkUnspec::new_with_index(peer_index).setns_by_fd(pod.as_raw_fd()).build();
    handle.link().set(move_peer).execute().await.context("move the veth's peer into the pod")?;
    let mut address = handle.address().add(node_index, IpAddr::V4(GATEWAY), 32);
    // Link scope: never chosen as the source of the node's own packets.
    address.message_mut().header.scope = AddressScope::Link;
    address.execute().await.context("give the node's end its gateway address")?;
    let up = LinkUnspec::new_with_index(node_index).up().build();
    handle.link().set(up).execute().await.context("set the node's end up")?;
    drop_routes_to(handle, spec.pod_ip).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(spec.pod_ip, 32)
        .output_interface(node_index)
        .scope(RouteScope::Link)
        .pref_source(spec.node_ip)
        .build();
    handle
        .route()
        .add(route)
        .replace()
        .execute()
        .await
        .context("route the pod's address to its link")
}

/// A /32 left behind by a link that is about to vanish would win over the new one.
async fn drop_routes_to(handle: &Handle, pod_ip: Ipv4Addr) -> Result<()> {
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = handle.route().get(all).execute();
    let mut stale = Vec::new();
    while let Some(route) = routes.try_next().await.context("list routes")? {
        let to_pod = route
            .attributes
            .iter()
            .any(|attribute| matches!(attribute, RouteAttribute::Destination(RouteAddress::Inet(ip)) if *ip == pod_ip));
        if to_pod && route.header.destination_prefix_length == 32 && route.header.table == 254 {
            stale.push(route);
        }
    }
    for route in stale {
        handle.route().del(route).execute().await.ok();
    }
    Ok(())
}

async fn link_pod_side(handle: &Handle, peer: &str, pod_ip: Ipv4Addr) -> Result<()> {
    let loopback = must_index(handle, "lo").await?;
    let up = LinkUnspec::new_with_index(loopback).up().build();
    handle.link().set(up).execute().await.context("set lo up")?;
    let index = must_index(handle, peer).await?;
    let rename = LinkUnspec::new_with_index(index).name("eth0").build();
    handle.link().set(rename).execute().await.context("name the pod's end eth0")?;
    handle
        .address()
        .add(index, IpAddr::V4(pod_ip), 32)
        .execute()
        .await
        .context("give eth0 the pod's address")?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.context("set eth0 up")?;
    let gateway = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(GATEWAY, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build();
    handle.route().add(gateway).execute().await.context("route the gateway to eth0")?;
    let default =
        RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).pref_source(pod_ip).build();
    handle.route().add(default).execute().await.context("add the default route")
}
