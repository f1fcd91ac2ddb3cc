//! A member's own address, and a node's network settings. Never makes a link, and no route but one
//! to the Services: the container engine and the node agent do.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use nix::mount::{MsFlags, mount};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::cluster::netlink::{in_runtime, index};

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
    route_services(services, address, &interface)
}

/// Leads the Services' addresses to `interface` where no route leads everywhere. The kernel looks for
/// a route before it asks the rules, and the internal networks of some engines (Podman's) have none.
fn route_services(services: Ipv4Net, address: Ipv4Addr, interface: &str) -> Result<()> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(services.network(), services.prefix_len())
        .output_interface(index(interface)?)
        .pref_source(address)
        .scope(RouteScope::Link)
        .build();
    in_runtime(async |handle| {
        if has_default_route(&handle).await? {
            return Ok(());
        }
        let added = handle.route().add(route).replace().execute().await;
        added.with_context(|| format!("route the Services' addresses {services}"))
    })
}

async fn has_default_route(handle: &Handle) -> Result<bool> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = handle.route().get(all).execute();
    while let Some(route) = routes.try_next().await.context("list routes")? {
        if route.header.destination_prefix_length == 0 {
            return Ok(true);
        }
    }
    Ok(false)
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
    use std::io::{self, ErrorKind};
    use std::net::{Ipv4Addr, UdpSocket};
    use std::process::Command;

    use super::route_services;

    /// In the process that has a network of its own.
    const INSIDE: &str = "CORACLE_TEST_INSIDE";

    /// Whether the kernel has a route: it looks for one when a datagram socket is connected.
    fn connect(to: &str) -> io::Result<()> {
        UdpSocket::bind("0.0.0.0:0")?.connect((to, 53))
    }

    fn is_unreachable(to: &str) -> bool {
        connect(to).is_err_and(|error| error.kind() == ErrorKind::NetworkUnreachable)
    }

    fn ip(words: &str) {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.expect("ip runs").success(), "ip {words}");
    }

    #[test]
    fn services_are_routed_where_no_route_leads_everywhere() {
        let name =
            "containers::network::tests::services_are_routed_where_no_route_leads_everywhere";
        if std::env::var_os(INSIDE).is_none() {
            let output = Command::new("unshare")
                .args(["--user", "--map-root-user", "--net"])
                .arg(std::env::current_exe().expect("this program"))
                .args(["--exact", name])
                .env(INSIDE, "1")
                .output()
                .expect("unshare runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        ip("link set lo up");
        let route = |services: &str| {
            let services = services.parse().expect("a range");
            route_services(services, Ipv4Addr::LOCALHOST, "lo").expect("routed");
        };
        assert!(is_unreachable("10.96.0.10"));
        route("10.96.0.0/16");
        connect("10.96.0.10").expect("a route");
        assert!(is_unreachable("10.97.0.10"), "no Service's address");
        // Also where it is there already.
        route("10.96.0.0/16");

        ip("route add default dev lo");
        route("10.97.0.0/16");
        ip("route del default dev lo");
        assert!(is_unreachable("10.97.0.10"), "a default route was enough");
    }
}
