//! A member's own address, and a node's network settings. Never makes a link or a route: the
//! container engine and the node agent do.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use nix::mount::{MsFlags, mount};

/// What a container engine mounts read-only and a node has to write: its pods are containers too.
const WRITABLE: [&str; 2] = ["/proc/sys", "/sys"];

/// The address that this container has in `network`, and the interface's name.
fn find(network: Ipv4Net) -> Result<(Ipv4Addr, String)> {
    let mut seen = Vec::new();
    for interface in getifaddrs().context("list this container's addresses")? {
        let Some(address) = interface.address.as_ref().and_then(|a| a.as_sockaddr_in()) else {
            continue;
        };
        if network.contains(&address.ip()) {
            return Ok((address.ip(), interface.interface_name));
        }
        seen.push(address.ip().to_string());
    }
    bail!(
        "this container has no address in {network} (it has {}): put it on the members' network, \
         or say another with --member-cidr",
        seen.join(", ")
    )
}

/// The address that this container has in `network`.
pub fn own_address(network: Ipv4Net) -> Result<Ipv4Addr> {
    Ok(find(network)?.0)
}

/// Prepares this container to be a node.
pub fn prepare_node(network: Ipv4Net) -> Result<()> {
    for path in WRITABLE {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).with_context(|| {
            format!("make {path} writable: a node's container needs `cap_add: [ALL]` and `security_opt: [seccomp=unconfined, apparmor=unconfined]`")
        })?;
    }
    let (_, interface) = find(network)?;
    for (key, value) in settings(&interface) {
        let path = Path::new("/proc/sys").join(&key);
        fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))?;
    }
    Ok(())
}

/// Reverse-path checks are off because a packet of a Service may come back another way than the
/// routes say. The node answers for its pods on the members' network: they are in its subnet, and
/// members that are no nodes have no routes to them.
fn settings(interface: &str) -> Vec<(String, &'static str)> {
    let of = |name: &str, key: &str| format!("net/ipv4/conf/{name}/{key}");
    vec![
        ("net/ipv4/ip_forward".to_owned(), "1"),
        (of("all", "rp_filter"), "0"),
        (of("default", "rp_filter"), "0"),
        (of(interface, "rp_filter"), "0"),
        (of(interface, "proxy_arp"), "1"),
        (format!("net/ipv4/neigh/{interface}/proxy_delay"), "0"),
    ]
}
