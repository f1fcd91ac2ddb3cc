//! A member's own address, and a node's network settings. Never makes a link, and no route but one
//! to the Services: the container engine and the node agent do.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use nix::mount::{MsFlags, mount};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteScope;

use crate::lab::fabric::{in_runtime, index};

/// What a container engine mounts read-only and a node has to write: its pods are containers too.
const WRITABLE: [&str; 2] = ["/proc/sys", "/sys"];

/// The kernel's IPv4 routes, as text.
const ROUTES: &str = "/proc/net/route";

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

/// Prepares this container, with an address in `network`, to be a node that reaches `services`.
pub fn prepare_node(network: Ipv4Net, services: Ipv4Net) -> Result<()> {
    for path in WRITABLE {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).with_context(|| {
            format!("make {path} writable: a node's container needs `cap_add: [ALL]` and `security_opt: [seccomp=unconfined, apparmor=unconfined]`")
        })?;
    }
    let (address, interface) = find(network)?;
    for (key, value) in settings(&interface) {
        let path = Path::new("/proc/sys").join(&key);
        fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))?;
    }
    let table = fs::read_to_string(ROUTES).with_context(|| format!("read {ROUTES}"))?;
    if has_default_route(&table) {
        return Ok(());
    }
    route_services(services, address, &interface)
}

/// Whether the kernel's text of its IPv4 routes has one to everywhere: destination and mask, its
/// second and eighth columns, are zero.
fn has_default_route(table: &str) -> bool {
    let mut routes = table.lines().skip(1).map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(1), columns.nth(5))
    });
    routes.any(|route| route == (Some("00000000"), Some("00000000")))
}

/// Leads the Services' addresses to `interface`. The kernel looks for a route before it asks the
/// rules, and the internal networks of some engines (Podman's) have no default route.
fn route_services(services: Ipv4Net, address: Ipv4Addr, interface: &str) -> Result<()> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(services.network(), services.prefix_len())
        .output_interface(index(interface)?)
        .pref_source(address)
        .scope(RouteScope::Link)
        .build();
    in_runtime(async |handle| {
        let added = handle.route().add(route).replace().execute().await;
        added.with_context(|| format!("route the Services' addresses {services}"))
    })
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

#[cfg(test)]
mod tests {
    use super::has_default_route;

    #[test]
    fn a_default_route_is_found_among_others() {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let link = "eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t0100F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let half = "eth0\t00000000\t0100F40A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
        for (routes, expected) in [
            (vec![], false),
            (vec![link], false),
            (vec![half], false),
            (vec![link, default], true),
        ] {
            let table = head.to_owned() + &routes.concat();
            assert_eq!(has_default_route(&table), expected, "{routes:?}");
        }
    }
}
