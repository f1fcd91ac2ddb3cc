//! Node ports on the node's IPv4 loopback addresses, which a kernel does not route unless
//! told to. Never takes back what it has set: others may have asked for it too.

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;

use crate::routes::Family;
use crate::settings::Settings;

/// `127.0.0.0/8`
pub const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// Lets a packet from a loopback address leave for a pod, and its answer come back. A mode
/// that sets it must drop what others send to those addresses.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Whether node ports are asked for on loopback. IPv6 has nothing like it: the kernel never
/// routes `::1`, so node ports do not answer there.
pub fn is_asked_for(settings: &Settings) -> bool {
    let meets = |network: &IpNet| match network {
        IpNet::V4(network) => network.contains(&LOOPBACK) || LOOPBACK.contains(network),
        IpNet::V6(_) => false,
    };
    settings.family == Family::V4 && settings.node_port_addresses.iter().any(meets)
}

/// Has the kernel route loopback addresses, where node ports are asked for there.
///
/// # Errors
/// They are, and it cannot be set.
pub fn allow(settings: &Settings) -> Result<()> {
    if !is_asked_for(settings) {
        return Ok(());
    }
    route()
}

/// Has the kernel route loopback addresses.
///
/// # Errors
/// It cannot be set.
pub fn route() -> Result<()> {
    if std::fs::read_to_string(ROUTE_LOCALNET).is_ok_and(|text| text.trim() == "1") {
        return Ok(());
    }
    std::fs::write(ROUTE_LOCALNET, "1").with_context(|| {
        format!("cannot set {ROUTE_LOCALNET}, which node ports on loopback addresses need")
    })
}
