//! Allocators: cluster IPs and node ports, one store key each, written in the same transaction
//! as the object that holds them.
//!
//! The keys in the store are the truth. What is held here is a guess at which are free,
//! fed by the watch of the store, so that choosing one costs the same with 1 and with 50,000
//! holders; a wrong guess is a conflict of the transaction and is tried again. Never writes
//! to the store itself.

pub mod plan;
pub mod range;
pub mod repair;

use std::net::IpAddr;

use api::allocate::Claim;
use ipnet::IpNet;

use crate::keys::{IPS, PORTS};

use self::range::Range;

/// The ranges that addresses and ports come from.
#[derive(Debug)]
pub struct Allocators {
    /// One range for each address family, the default family first.
    pub cluster_ips: Vec<IpRange>,
    /// The node ports.
    pub node_ports: PortRange,
}

/// A range of cluster IPs.
#[derive(Debug)]
pub struct IpRange {
    /// The range as configured.
    pub net: IpNet,
    range: Range,
}

/// A range of node ports.
#[derive(Debug)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
    range: Range,
}

/// Most addresses of one range that are ever handed out: an IPv6 range may be larger.
const MAX_RANGE: u128 = 1 << 20;

impl IpRange {
    /// The addresses of a network, without its own address and its broadcast address.
    pub fn new(net: IpNet) -> Self {
        let host_bits = u32::from(net.max_prefix_len() - net.prefix_len());
        let all = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX).min(MAX_RANGE + 2);
        let reserved = if net.addr().is_ipv4() { 2 } else { 1 };
        let size = u32::try_from(all.saturating_sub(reserved)).unwrap_or(u32::MAX);
        // The lowest addresses are for users' own choices: upstream's static band.
        let band = if size < 32 { 0 } else { (size / 16).clamp(16, 256) };
        Self { net, range: Range::new(size, band) }
    }

    /// The nth address that may be handed out.
    pub fn address(&self, offset: u32) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) + offset + 1).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) + u128::from(offset) + 1).into()),
        }
    }

    /// The inverse of `address`; `None` outside the range.
    pub fn offset(&self, address: IpAddr) -> Option<u32> {
        let distance = match (self.net.network(), address) {
            (IpAddr::V4(base), IpAddr::V4(a)) => {
                u128::from(u32::from(a)).checked_sub(u128::from(u32::from(base)))?
            }
            (IpAddr::V6(base), IpAddr::V6(a)) => u128::from(a).checked_sub(u128::from(base))?,
            _ => return None,
        };
        let offset = u32::try_from(distance.checked_sub(1)?).ok()?;
        (offset < self.range.size()).then_some(offset)
    }

    /// `IPv4` or `IPv6`, as in `spec.ipFamilies`.
    pub fn family(&self) -> &'static str {
        if self.net.addr().is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

impl PortRange {
    /// The ports from `first` to `last`, both included.
    pub fn new(first: u16, last: u16) -> Self {
        let size = u32::from(last.saturating_sub(first)) + 1;
        let band = if size < 32 { 0 } else { (size / 32).clamp(16, 128) };
        Self { first, last, range: Range::new(size, band) }
    }

    /// Whether users may choose this port.
    pub fn contains(&self, port: i32) -> bool {
        (i32::from(self.first)..=i32::from(self.last)).contains(&port)
    }

    fn offset(&self, port: i32) -> Option<u32> {
        self.contains(port).then(|| u32::try_from(port - i32::from(self.first)).ok()).flatten()
    }
}

impl Allocators {
    /// Allocators with everything free.
    pub fn new(cluster_ips: &[IpNet], node_ports: (u16, u16)) -> Self {
        Self {
            cluster_ips: cluster_ips.iter().copied().map(IpRange::new).collect(),
            node_ports: PortRange::new(node_ports.0, node_ports.1),
        }
    }

    /// Takes in that a key of the store came or went.
    pub fn observe(&self, key: &str, taken: bool) {
        if let Some(address) = key.strip_prefix(IPS).and_then(|a| a.parse().ok()) {
            for range in &self.cluster_ips {
                if let Some(offset) = range.offset(address) {
                    range.range.set(offset, taken);
                }
            }
        } else if let Some(port) = key.strip_prefix(PORTS).and_then(|p| p.parse().ok())
            && let Some(offset) = self.node_ports.offset(port)
        {
            self.node_ports.range.set(offset, taken);
        }
    }

    /// Forgets what was guessed and takes in the keys of a listing.
    pub fn reset(&self, keys: &[String]) {
        for range in &self.cluster_ips {
            range.range.clear();
        }
        self.node_ports.range.clear();
        for key in keys {
            self.observe(key, true);
        }
    }

    /// A free address of a family, reserved until `observe` says otherwise.
    fn next_ip(&self, family: &str) -> Option<IpAddr> {
        let range = self.range_of(family)?;
        range.range.take_any().map(|offset| range.address(offset))
    }

    /// A free node port, reserved until `observe` says otherwise.
    fn next_port(&self) -> Option<i32> {
        let offset = self.node_ports.range.take_any()?;
        i32::try_from(offset).ok().map(|o| i32::from(self.node_ports.first) + o)
    }

    fn range_of(&self, family: &str) -> Option<&IpRange> {
        self.cluster_ips.iter().find(|range| range.family() == family)
    }
}

/// The key in the store of something that can be held.
fn key(claim: Claim) -> String {
    match claim {
        Claim::Ip(address) => format!("{IPS}{address}"),
        Claim::Port(port) => format!("{PORTS}{port}"),
    }
}
