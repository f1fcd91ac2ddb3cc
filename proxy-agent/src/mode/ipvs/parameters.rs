//! Kernel parameters that the mode depends on, as upstream sets them. Pure; never reads
//! or writes one.

use crate::routes::Family;
use crate::settings::Settings;

/// IPVS connections are tracked, else none could be masqueraded.
pub const CONNTRACK: &str = "net/ipv4/vs/conntrack";
/// A connection to a real server that has gone is forgotten at its next packet.
pub const EXPIRE_NODEST: &str = "net/ipv4/vs/expire_nodest_conn";
/// A client is forgotten by a real server that gets no new connections.
pub const EXPIRE_TEMPLATE: &str = "net/ipv4/vs/expire_quiescent_template";
/// What becomes of a new connection with the ports of an old one.
pub const REUSE_MODE: &str = "net/ipv4/vs/conn_reuse_mode";
/// Packets go through this node.
pub const FORWARD: &str = "net/ipv4/ip_forward";
/// Which addresses ARP answers for.
pub const ARP_IGNORE: &str = "net/ipv4/conf/all/arp_ignore";
/// Which addresses ARP asks from.
pub const ARP_ANNOUNCE: &str = "net/ipv4/conf/all/arp_announce";

/// All that may be set.
pub const ALL: [&str; 7] =
    [CONNTRACK, EXPIRE_NODEST, EXPIRE_TEMPLATE, REUSE_MODE, FORWARD, ARP_IGNORE, ARP_ANNOUNCE];

/// Since this kernel a client that uses a port again does not wait a second.
const REUSE_MENDED: (u32, u32) = (5, 9);

/// What is wanted of a kernel with this release (`6.1.0-56-amd64`).
pub fn wanted(settings: &Settings, release: &str) -> Vec<(&'static str, &'static str)> {
    let mut wanted = vec![(CONNTRACK, "1"), (EXPIRE_NODEST, "1"), (EXPIRE_TEMPLATE, "1")];
    if version(release).is_some_and(|version| version < REUSE_MENDED) {
        wanted.push((REUSE_MODE, "0"));
    }
    if settings.family == Family::V4 {
        wanted.push((FORWARD, "1"));
        if settings.ipvs.strict_arp {
            wanted.extend([(ARP_IGNORE, "1"), (ARP_ANNOUNCE, "2")]);
        }
    }
    wanted
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{REUSE_MODE, wanted};
    use crate::routes::Family;
    use crate::settings::Settings;

    #[test]
    fn old_kernels_reuse_connections_otherwise() {
        let has = |release| {
            let wanted = wanted(&Settings::new(Family::V4), release);
            wanted.contains(&(REUSE_MODE, "0"))
        };
        assert!(has("5.4.0-150-generic") && has("4.19.0"));
        assert!(!has("5.9.0") && !has("6.1.0-56-amd64") && !has("6.18.44-fc") && !has("x"));
    }
}
