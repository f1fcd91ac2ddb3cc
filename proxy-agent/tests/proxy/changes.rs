//! Random changes of a few Services and their EndpointSlices, for every mode's histories,
//! and the packets that none of them may lose.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proxy_agent::catalog::{Catalog, Change, ServiceName};
use proxy_agent::routes::{Destination, Protocol, RouteTable, Target};

use super::packet::{Outcome, Packet};
use super::{objects, table};

const SERVICES: u8 = 3;
/// What a Service may have beside a cluster IP.
pub const OPTIONS: &[&str] = &[
    "node-port=3000",
    "affinity=60",
    "internal=Local",
    "external=Local",
    "external-ip=198.51.100.7",
];

/// One change.
#[derive(Clone, Debug)]
pub enum Edit {
    Service {
        index: u8,
        options: Vec<&'static str>,
    },
    NoService(u8),
    /// Bit `i` of `ready`: endpoint `i` is there; of `local`: it is on this node.
    Slice {
        index: u8,
        ready: u8,
        local: u8,
    },
}

/// Any change with some of these options, and at most so many endpoints.
pub fn edit(options: &[&'static str], endpoints: u32) -> impl Strategy<Value = Edit> + use<> {
    let options = options.to_vec();
    let count = options.len();
    let options = proptest::sample::subsequence(options, 0..=count);
    let all = u8::try_from((1u32 << endpoints) - 1).expect("at most eight endpoints");
    prop_oneof![
        2 => (0..SERVICES, options).prop_map(|(index, options)| Edit::Service { index, options }),
        1 => (0..SERVICES).prop_map(Edit::NoService),
        5 => (0..SERVICES, 0..=all, any::<u8>())
            .prop_map(|(index, ready, local)| Edit::Slice { index, ready, local }),
    ]
}

impl Edit {
    /// What a watch reports of it.
    pub fn change(&self) -> Change {
        let gone = |name: String| ServiceName { namespace: "default".to_owned(), name };
        match self {
            Edit::Service { index, options } => {
                let mut text = format!("svc s{index} 10.96.0.{} 80/tcp", index + 1);
                for option in options {
                    text += &match *option {
                        "node-port=3000" => format!(" node-port=3000{index}"),
                        other => format!(" {other}"),
                    };
                }
                objects::changes(&text).remove(0)
            }
            Edit::NoService(index) => Change::ServiceGone(gone(format!("s{index}"))),
            Edit::Slice { index, ready: 0, .. } => {
                Change::SliceGone(gone(format!("s{index}-a-8080")))
            }
            Edit::Slice { index, ready, local } => {
                let line = |bit: u8| {
                    let node = if local & 1 << bit != 0 { 1 } else { 2 };
                    format!("ep s{index} 10.244.{index}.{}:8080 node-{node}\n", bit + 1)
                };
                let ready = (0..8).filter(|bit| ready & 1 << bit != 0);
                objects::changes(&ready.map(line).collect::<String>()).remove(0)
            }
        }
    }
}

/// A second catalog that has seen the same.
pub fn replay<'a>(edits: impl IntoIterator<Item = &'a Edit>) -> Catalog {
    table::catalog_of(edits.into_iter().map(Edit::change).collect())
}

/// Every destination that has endpoints before and after leads, to the end, to one that
/// `allowed` says, by default to one of its endpoints of then or now. Node ports are asked
/// for at `node`, where there is one.
pub fn no_packet_is_lost(
    before: &Catalog,
    now: &Catalog,
    node: Option<IpAddr>,
    allowed: impl Fn(&Destination) -> Option<BTreeSet<Target>>,
    mut outcomes: impl FnMut(&Packet) -> BTreeSet<Outcome>,
) -> Result<(), TestCaseError> {
    for to in now.destinations() {
        let (protocol, port) = to.transport();
        let at = match to {
            Destination::Address { address, .. } => Some(*address),
            Destination::NodePort { .. } => node,
        };
        let (Some(destination), Some(old), Some(new)) = (at, before.routes(to), now.routes(to))
        else {
            continue;
        };
        let (old, new) = (&old.inside.endpoints, &new.inside.endpoints);
        if old.is_empty() || new.is_empty() {
            continue;
        }
        assert_eq!(protocol, Protocol::Tcp);
        let allowed = allowed(to).unwrap_or_else(|| old.iter().chain(new).copied().collect());
        let source = IpAddr::from([10, 244, 9, 9]);
        for outcome in outcomes(&Packet { source, destination, protocol, port }) {
            let found =
                matches!(outcome, Outcome::Endpoint { target, .. } if allowed.contains(&target));
            prop_assert!(found, "{to:?}: {outcome:?}, not one of {allowed:?}");
        }
    }
    Ok(())
}
