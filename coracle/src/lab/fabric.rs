//! Builds the lab's network: a bridge for the nodes, a namespace for each node and for
//! `outside`, addresses, routes and forwarding. Pods and Services are not its matter: node agent and
//! proxy agent program them.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::link::{InfoData, InfoVeth},
};

use crate::cluster::netlink::{in_runtime, index};

use super::namespaces::{enter_network, make_network, pin_network};
use super::topology::{
    FABRIC, NODE_GATEWAY, NODE_NET, NodePlace, OUTSIDE, OUTSIDE_ADDRESS, OUTSIDE_GATEWAY,
    OUTSIDE_NET, Topology,
};

const BRIDGE: &str = "lab0";
const UPLINK: &str = "eth0";

/// Settings of every namespace of the lab. Reverse-path checks are off because a packet
/// of a Service may well come back another way than the routes say.
const SYSCTLS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];
/// Of the fabric alone: frames between nodes are switched, not filtered. The file is
/// there only where the kernel has bridge netfilter.
const BRIDGE_FILTER: &str = "net/bridge/bridge-nf-call-iptables";

/// File that keeps the network namespace `name` alive, below the lab's scratch mount.
pub fn netns_path(run: &Path, name: &str) -> PathBuf {
    run.join("netns").join(name)
}

/// One end of a link: what is configured inside its namespace.
struct Spoke {
    name: String,
    address: Ipv4Net,
    gateway: Ipv4Addr,
    on_bridge: bool,
    pods: Option<Ipv4Net>,
}

/// Builds everything; the calling process is in the namespace that becomes the fabric.
/// Returns the settings that could not be made, in words.
pub fn build(topology: &Topology, run: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(run.join("netns"))?;
    let fabric = netns_path(run, FABRIC);
    File::create(&fabric)?;
    pin_network(&fabric).context("keep the fabric's network namespace")?;
    let mut degraded = write_sysctls("the fabric");
    switch_without_filter(&mut degraded);
    let spokes = spokes(topology);
    for spoke in &spokes {
        let failed = make_network(&netns_path(run, &spoke.name), || Ok(write_sysctls(&spoke.name)))
            .with_context(|| format!("make the network namespace of {}", spoke.name))?;
        degraded.extend(failed);
    }
    in_runtime(|handle| async move { join(&handle, run, &spokes).await })?;
    for spoke in self::spokes(topology) {
        let path = netns_path(run, &spoke.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<()> {
                enter_network(&path)?;
                in_runtime(|handle| async move { configure(&handle, &spoke).await })
            });
            inside
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the configuring thread panicked")))
        })?;
    }
    Ok(degraded)
}

fn spokes(topology: &Topology) -> Vec<Spoke> {
    let node = |place: NodePlace| Spoke {
        name: place.name,
        address: Ipv4Net::new_assert(place.address, NODE_NET.prefix_len()),
        gateway: NODE_GATEWAY,
        on_bridge: true,
        pods: Some(place.pod_cidr),
    };
    let outside = Spoke {
        name: OUTSIDE.to_owned(),
        address: Ipv4Net::new_assert(OUTSIDE_ADDRESS, OUTSIDE_NET.prefix_len()),
        gateway: OUTSIDE_GATEWAY,
        on_bridge: false,
        pods: None,
    };
    topology.nodes().into_iter().map(node).chain([outside]).collect()
}

/// The fabric's side: bridge, links, gateways, and routes to the nodes' pods, as the
/// router of a data centre has them.
async fn join(handle: &Handle, run: &Path, spokes: &[Spoke]) -> Result<()> {
    raise(handle, "lo").await?;
    handle.link().add(LinkBridge::new(BRIDGE).build()).execute().await.context("make a bridge")?;
    let bridge = index(BRIDGE)?;
    add_address(handle, bridge, Ipv4Net::new_assert(NODE_GATEWAY, NODE_NET.prefix_len())).await?;
    raise(handle, BRIDGE).await?;
    for (number, spoke) in spokes.iter().enumerate() {
        let name = if spoke.on_bridge { format!("node{number}") } else { spoke.name.clone() };
        link_to(handle, &name, &netns_path(run, &spoke.name))
            .await
            .with_context(|| format!("make the veth pair of {}", spoke.name))?;
        let ours = index(&name)?;
        if spoke.on_bridge {
            let attach = LinkUnspec::new_with_index(ours).controller(bridge).build();
            handle.link().set(attach).execute().await.context("attach to the bridge")?;
        } else {
            let gateway = Ipv4Net::new_assert(spoke.gateway, spoke.address.prefix_len());
            add_address(handle, ours, gateway).await?;
        }
        raise(handle, &name).await?;
        if let Some(pods) = spoke.pods {
            add_route(handle, pods, spoke.address.addr()).await?;
        }
    }
    Ok(())
}

/// A node's side: loopback, address, default route.
async fn configure(handle: &Handle, spoke: &Spoke) -> Result<()> {
    raise(handle, "lo").await?;
    add_address(handle, index(UPLINK)?, spoke.address).await?;
    raise(handle, UPLINK).await?;
    let everything = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
    add_route(handle, everything, spoke.gateway).await
}

/// A veth pair from here to `eth0` in the namespace kept at `netns`.
async fn link_to(handle: &Handle, name: &str, netns: &Path) -> Result<()> {
    let netns = File::open(netns)?;
    let peer =
        LinkMessageBuilder::<LinkUnspec>::new().name(UPLINK).setns_by_fd(netns.as_raw_fd()).build();
    let link =
        LinkVeth::new(name, UPLINK).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
    handle.link().add(link).execute().await?;
    Ok(())
}

async fn raise(handle: &Handle, name: &str) -> Result<()> {
    let up = LinkUnspec::new_with_index(index(name)?).up().build();
    handle.link().set(up).execute().await.with_context(|| format!("set {name} up"))
}

async fn add_address(handle: &Handle, link: u32, address: Ipv4Net) -> Result<()> {
    handle
        .address()
        .add(link, IpAddr::V4(address.addr()), address.prefix_len())
        .execute()
        .await
        .with_context(|| format!("add the address {address}"))
}

async fn add_route(handle: &Handle, to: Ipv4Net, via: Ipv4Addr) -> Result<()> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .gateway(via)
        .build();
    handle
        .route()
        .add(route)
        .execute()
        .await
        .with_context(|| format!("add the route to {to} via {via}"))
}

fn write_sysctls(place: &str) -> Vec<String> {
    SYSCTLS
        .iter()
        .filter_map(|(key, value)| {
            let error = fs::write(Path::new("/proc/sys").join(key), value).err()?;
            Some(format!("cannot set {} = {value} in {place}: {error}", key.replace('/', ".")))
        })
        .collect()
}

fn switch_without_filter(degraded: &mut Vec<String>) {
    let path = Path::new("/proc/sys").join(BRIDGE_FILTER);
    if path.exists()
        && let Err(error) = fs::write(&path, "0")
    {
        degraded.push(format!(
            "cannot set {} = 0 in the fabric: {error}",
            BRIDGE_FILTER.replace('/', ".")
        ));
    }
}
