//! Names of tables and chains: upstream's, so that whoever knows kube-proxy's rules knows
//! these.

use ring::digest::{SHA256, digest};

use crate::catalog::ServicePortName;
use crate::routes::{Protocol, Target};

/// A table of iptables that this mode has chains in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Refusals.
    Filter,
    /// Where packets go, and from which address.
    Nat,
    /// Nothing of this mode's; a kube-proxy has a canary there.
    Mangle,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 3] = [Table::Filter, Table::Nat, Table::Mangle];

    /// The name after `*` in iptables' notation.
    pub fn as_str(self) -> &'static str {
        match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
            Table::Mangle => "mangle",
        }
    }

    /// The table called `name`, if this mode has chains there.
    pub fn parse(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.as_str() == name)
    }
}

/// Destinations: in `nat` where they lead, in `filter` which are refused.
pub const SERVICES: &str = "KUBE-SERVICES";
/// Destinations for clients outside that are refused.
pub const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
/// In `nat` node ports, in `filter` the ports of health checks.
pub const NODE_PORTS: &str = "KUBE-NODEPORTS";
/// The new source of packets that have the mark.
pub const POSTROUTING: &str = "KUBE-POSTROUTING";
/// Gives the mark.
pub const MARK_MASQ: &str = "KUBE-MARK-MASQ";
/// Lets marked packets through a node that forwards nothing else.
pub const FORWARD: &str = "KUBE-FORWARD";
/// Load-balancer addresses with source ranges: what no range let through.
pub const PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
/// Empty; others take it as the sign that these rules are here.
pub const CANARY: &str = "KUBE-PROXY-CANARY";

const FIXED: [&str; 8] = [
    SERVICES,
    EXTERNAL_SERVICES,
    NODE_PORTS,
    POSTROUTING,
    MARK_MASQ,
    FORWARD,
    PROXY_FIREWALL,
    CANARY,
];

/// Chains of Services by the beginning of their names, each before those that it may
/// lead to.
const HASHED: [&str; 5] = ["KUBE-FW-", "KUBE-EXT-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-"];
/// Digits of a hash in a name.
const DIGITS: usize = 16;

/// Whether a chain of this name is kube-proxy's, and so this mode's.
pub fn is_ours(chain: &str) -> bool {
    FIXED.contains(&chain) || rank(chain).is_some()
}

/// The place of a Service's chain among those that lead to each other; `None` for any
/// other chain.
pub fn rank(chain: &str) -> Option<usize> {
    let is_digit = |c: u8| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c);
    HASHED.iter().position(|start| {
        chain
            .strip_prefix(start)
            .is_some_and(|hash| hash.len() == DIGITS && hash.bytes().all(is_digit))
    })
}

/// The names of one Service port's chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortChains {
    /// `namespace/name:port`, as comments have it.
    pub port: String,
    protocol: Protocol,
    /// `KUBE-SVC-`: draws one of the endpoints of policy `Cluster`.
    pub cluster: String,
    /// `KUBE-SVL-`: draws one of the endpoints of policy `Local`.
    pub local: String,
    /// `KUBE-EXT-`: by where a packet for an external destination comes from.
    pub external: String,
    /// `KUBE-FW-`: lets `loadBalancerSourceRanges` pass.
    pub firewall: String,
}

impl PortChains {
    /// The names for a Service port.
    pub fn new(name: &ServicePortName, protocol: Protocol) -> PortChains {
        let port = match name.port.as_str() {
            "" => name.service.to_string(),
            port => format!("{}:{port}", name.service),
        };
        let hash = hash(&format!("{port}{protocol}"));
        PortChains {
            cluster: format!("KUBE-SVC-{hash}"),
            local: format!("KUBE-SVL-{hash}"),
            external: format!("KUBE-EXT-{hash}"),
            firewall: format!("KUBE-FW-{hash}"),
            port,
            protocol,
        }
    }

    /// `KUBE-SEP-`: goes to one endpoint.
    pub fn endpoint(&self, target: &Target) -> String {
        format!("KUBE-SEP-{}", hash(&format!("{}{}{target}", self.port, self.protocol)))
    }
}

/// The beginning of SHA-256 in base32 (RFC 4648), as upstream's `portProtoHash`.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = digest(&SHA256, text.as_bytes());
    let bits = digest.as_ref()[..DIGITS * 5 / 8]
        .iter()
        .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..DIGITS)
        .rev()
        .map(|digit| char::from(ALPHABET[(bits >> (digit * 5)) as usize & 31]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ServiceName;

    /// Names that upstream's own tests expect (`pkg/proxy/iptables/proxier_test.go`).
    #[test]
    fn names_are_upstreams() {
        let name = ServicePortName {
            service: ServiceName { namespace: "ns1".to_owned(), name: "svc1".to_owned() },
            port: "p80".to_owned(),
        };
        let chains = PortChains::new(&name, Protocol::Tcp);
        assert_eq!(chains.cluster, "KUBE-SVC-XPGD46QRK7WJZT7O");
        let target = Target { address: [10, 180, 0, 1].into(), port: 80 };
        assert_eq!(chains.endpoint(&target), "KUBE-SEP-SXIVWICOYRO3J4NJ");
    }

    #[test]
    fn only_upstreams_names_are_ours() {
        for (name, ours) in [
            ("KUBE-SERVICES", true),
            ("KUBE-SVC-XPGD46QRK7WJZT7O", true),
            ("KUBE-SVC-MINE", false),
            ("KUBE-SEP-xpgd46qrk7wjzt7o", false),
            ("KUBE-FIREWALL", false),
            ("KUBE-KUBELET-CANARY", false),
            ("KUBE-IPTABLES-HINT", false),
            ("INPUT", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
