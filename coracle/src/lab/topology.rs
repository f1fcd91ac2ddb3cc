//! The lab's address plan: which networks, nodes and addresses there are. `fabric` builds it.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::cluster::ranges::{NODE_POD_PREFIX, Ranges};

/// Name of the namespace that is no node: the client outside the cluster.
pub const OUTSIDE: &str = "outside";
/// Name of the namespace that joins nodes and `outside`: the lab's first one.
pub const FABRIC: &str = "fabric";
/// Name of the first node, which runs the API server and the controllers.
pub const CONTROL_PLANE: &str = "control-plane";
/// Workers are called by this and their number.
const WORKER_PREFIX: &str = "worker-";
/// Most worker nodes of one lab; three processes and a namespace each.
pub const MAX_WORKERS: u8 = 100;

/// Nodes and their gateway.
pub const NODE_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 77, 0), 24);
/// `outside` and its gateway.
pub const OUTSIDE_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 78, 0), 24);
/// The fabric's address on the bridge of the nodes.
pub const NODE_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The fabric's address towards `outside`.
pub const OUTSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
/// The address of `outside`.
pub const OUTSIDE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 2);
/// The control plane's address; workers follow it.
pub const CONTROL_PLANE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);

const FIRST_NODE_OCTET: u8 = 10;

/// Ranges a lab cannot use for Services or pods, with the reason.
const TAKEN: [(&str, Ipv4Net); 5] = [
    ("the nodes' own network", NODE_NET),
    ("the network of `outside`", OUTSIDE_NET),
    ("loopback", Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    (
        "link-local addresses, which pods use for their gateway",
        Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    ),
    ("multicast and reserved addresses", Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3)),
];

/// What the user chose about the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The ranges of Services and pods.
    #[serde(flatten)]
    pub ranges: Ranges,
    /// Number of worker nodes, beside the control plane.
    pub workers: u8,
}

/// One node's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlace {
    /// Node name, host name and namespace name.
    pub name: String,
    /// Address on the nodes' bridge.
    pub address: Ipv4Addr,
    /// Range of this node's pods.
    pub pod_cidr: Ipv4Net,
    /// Whether it is the control plane.
    pub control_plane: bool,
}

impl Topology {
    /// Checks the plan. Every error names the option and what it collides with.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.workers <= MAX_WORKERS,
            "--nodes {}: a lab has at most {MAX_WORKERS} workers",
            self.workers
        );
        let Ranges { service_cidr, pod_cidr } = self.ranges;
        check_range("--service-cidr", service_cidr)?;
        check_range("--pod-cidr", pod_cidr)?;
        let prefix = service_cidr.prefix_len();
        ensure!(
            (12..=28).contains(&prefix),
            "--service-cidr {service_cidr}: the prefix must be /12 to /28 (the DNS Service takes the 10th address)"
        );
        if overlap(service_cidr, pod_cidr) {
            bail!(
                "--service-cidr {service_cidr} and --pod-cidr {pod_cidr} overlap: choose two ranges that share no address"
            );
        }
        let room = 1u64 << NODE_POD_PREFIX.saturating_sub(pod_cidr.prefix_len());
        let needed = u64::from(self.workers) + 1;
        ensure!(
            pod_cidr.prefix_len() <= NODE_POD_PREFIX && room >= needed,
            "--pod-cidr {}: {needed} nodes need a /24 each, so the prefix must be /{} or shorter",
            pod_cidr,
            u32::from(NODE_POD_PREFIX) - (64 - (needed - 1).leading_zeros())
        );
        Ok(())
    }

    /// All nodes, the control plane first.
    pub fn nodes(&self) -> Vec<NodePlace> {
        (0..=self.workers)
            .map(|index| NodePlace {
                name: match index {
                    0 => CONTROL_PLANE.to_owned(),
                    worker => format!("{WORKER_PREFIX}{worker}"),
                },
                address: Ipv4Addr::new(192, 168, 77, FIRST_NODE_OCTET + index),
                pod_cidr: self.ranges.pods_of(index),
                control_plane: index == 0,
            })
            .collect()
    }
}

/// Whether a node of this name can be a worker of a lab, of whatever size.
pub fn is_worker_name(name: &str) -> bool {
    let number = name.strip_prefix(WORKER_PREFIX);
    number.is_some_and(|number| number.parse::<u8>().is_ok_and(|n| n > 0 && n <= MAX_WORKERS))
}

fn check_range(option: &str, range: Ipv4Net) -> Result<()> {
    ensure!(
        range.addr() == range.network(),
        "{option} {range}: bits are set behind the prefix; did you mean {}?",
        range.trunc()
    );
    for (what, taken) in TAKEN {
        ensure!(
            !overlap(range, taken),
            "{option} {range} overlaps {taken}, {what}: choose another range, such as 10.0.0.0/16"
        );
    }
    Ok(())
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(service: &str, pod: &str, workers: u8) -> String {
        let ranges = Ranges {
            service_cidr: service.parse().expect("a CIDR"),
            pod_cidr: pod.parse().expect("a CIDR"),
        };
        let topology = Topology { ranges, workers };
        match topology.validate() {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ranges_are_checked_and_the_message_says_what_collides() {
        let cases = [
            ("10.96.0.0/16", "10.244.0.0/16", 2, "ok"),
            ("172.30.0.0/24", "10.0.0.0/22", 3, "ok"),
            ("10.96.0.0/16", "10.96.128.0/17", 2, "share no address"),
            ("192.168.0.0/16", "10.244.0.0/16", 2, "nodes' own network"),
            ("10.96.0.0/16", "192.168.78.0/24", 0, "`outside`"),
            ("10.96.3.0/16", "10.244.0.0/16", 2, "did you mean 10.96.0.0/16"),
            ("10.96.0.0/29", "10.244.0.0/16", 2, "/12 to /28"),
            ("10.96.0.0/16", "10.244.0.0/23", 2, "must be /22 or shorter"),
            ("10.96.0.0/16", "10.244.0.0/25", 0, "must be /24 or shorter"),
            ("127.1.0.0/16", "10.244.0.0/16", 2, "loopback"),
            ("10.96.0.0/16", "10.0.0.0/8", 2, "overlap"),
            ("10.96.0.0/16", "10.244.0.0/16", 101, "at most 100"),
        ];
        for (service, pod, workers, expected) in cases {
            let got = verdict(service, pod, workers);
            assert!(
                got.contains(expected),
                "{service} {pod} {workers}: {got:?} should say {expected:?}"
            );
        }
    }

    #[test]
    fn nodes_take_addresses_in_order() {
        let topology = Topology { ranges: Ranges::default(), workers: 2 };
        let lines: Vec<String> = topology
            .nodes()
            .iter()
            .map(|n| format!("{} {} {}", n.name, n.address, n.pod_cidr))
            .collect();
        assert_eq!(
            lines,
            [
                "control-plane 192.168.77.10 10.244.0.0/24",
                "worker-1 192.168.77.11 10.244.1.0/24",
                "worker-2 192.168.77.12 10.244.2.0/24",
            ]
        );
        assert_eq!(topology.ranges.dns_service().to_string(), "10.96.0.10");
    }

    #[test]
    fn workers_are_known_by_their_names() {
        for (name, is_worker) in [
            ("worker-1", true),
            ("worker-100", true),
            ("worker-0", false),
            ("worker-101", false),
            ("worker-x", false),
            ("my-worker-1", false),
            (CONTROL_PLANE, false),
        ] {
            assert_eq!(is_worker_name(name), is_worker, "{name}");
        }
    }
}
