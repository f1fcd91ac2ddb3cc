//! EndpointSlices: what one says, and the endpoints that several say together.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::ServiceName;
use super::service::HEADLESS;
use crate::routes::{Family, Protocol, Target};

/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One address of a slice with its conditions. There is one for each endpoint of the
/// cluster: nothing is kept that can be said in a word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    address: IpAddr,
    ready: bool,
    serving: bool,
    terminating: bool,
    runs: Runs,
    /// `None`: nobody said, as mostly.
    hints: Option<Box<Hints>>,
}

/// Where an endpoint runs, as far as this node minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Here,
    Elsewhere,
    /// Nobody says where.
    Somewhere,
}

/// Where an endpoint is best used from; empty: nobody said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `hints.forNodes`
    pub nodes: Vec<String>,
    /// `hints.forZones`
    pub zones: Vec<String>,
}

/// An EndpointSlice as far as a proxy needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceInfo {
    family: Family,
    /// Port name, protocol and number; the API always says which protocol, and any will
    /// do where nobody says.
    ports: Box<[(String, Option<Protocol>, u16)]>,
    addresses: Box<[Address]>,
}

/// An endpoint of one Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port.
    pub target: Target,
    /// Ready; `publishNotReadyAddresses` is already in it.
    pub ready: bool,
    /// Answers, ready or terminating.
    pub serving: bool,
    /// On its way out.
    pub terminating: bool,
    /// Runs on this node.
    pub is_local: bool,
    /// Runs on this node, or nobody says where.
    pub may_be_own: bool,
    /// Topology hints.
    pub hints: Hints,
}

impl SliceInfo {
    /// The slice and its Service, as the node called `node_name` sees it; `None` when it is
    /// no Service's or headless.
    pub fn from_object(slice: &EndpointSlice, node_name: &str) -> Option<(ServiceName, SliceInfo)> {
        let labels = slice.metadata.labels.as_ref()?;
        let name = labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?.clone();
        if labels.contains_key(HEADLESS) {
            return None;
        }
        let family = match slice.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            _ => return None,
        };
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Some((
                port.name.clone().unwrap_or_default(),
                port.protocol.as_deref().and_then(Protocol::parse),
                u16::try_from(port.port?).ok()?,
            ))
        });
        let addresses = slice.endpoints.iter().flatten().filter_map(|endpoint| {
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            let conditions = endpoint.conditions.as_ref();
            // Absent means ready, and serving, whatever the other says.
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            Some(Address {
                address,
                ready,
                serving: conditions.and_then(|c| c.serving).unwrap_or(true),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                runs: match endpoint.node_name.as_deref() {
                    Some(name) if name == node_name => Runs::Here,
                    Some(_) => Runs::Elsewhere,
                    None => Runs::Somewhere,
                },
                hints: hints_of(endpoint),
            })
        });
        let info = SliceInfo {
            family,
            ports: ports.collect(),
            addresses: addresses.filter(|a| Family::of(&a.address) == family).collect(),
        };
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        Some((ServiceName { namespace, name }, info))
    }
}

fn hints_of(endpoint: &k8s_openapi::api::discovery::v1::Endpoint) -> Option<Box<Hints>> {
    let hints = endpoint.hints.as_ref()?;
    let nodes = hints.for_nodes.iter().flatten();
    let zones = hints.for_zones.iter().flatten();
    Some(Box::new(Hints {
        nodes: nodes.map(|hint| hint.name.clone()).collect(),
        zones: zones.map(|hint| hint.name.clone()).collect(),
    }))
}

/// The endpoints of a Service's port, by its name and protocol, from all slices, sorted; one
/// that is in several slices (it moves between them) counts once, in its best condition.
pub(super) fn merge<'a>(
    slices: impl Iterator<Item = &'a SliceInfo>,
    (port_name, protocol): (&str, Protocol),
    family: Family,
) -> Vec<Endpoint> {
    let mut found: Vec<(Target, &Address)> = Vec::new();
    for slice in slices.filter(|slice| slice.family == family) {
        let is_its = |(name, of, _): &&(String, Option<Protocol>, u16)| {
            name == port_name && of.is_none_or(|of| of == protocol)
        };
        for &(_, _, port) in slice.ports.iter().filter(is_its) {
            found.extend(slice.addresses.iter().map(|endpoint| {
                let address = endpoint.address;
                (Target { address, port }, endpoint)
            }));
        }
    }
    // Not a tree: most often they are sorted already, and nothing is found twice. Stable,
    // so that hints stay in the slices' order.
    found.sort_by_key(|(target, _)| *target);
    let same = found.chunk_by(|(one, _), (other, _)| one == other);
    same.filter_map(|same| {
        let (target, _) = *same.first()?;
        Some(together(target, same.iter().map(|(_, it)| *it)))
    })
    .collect()
}

/// One endpoint, of which each of `said` is said.
fn together<'a>(target: Target, said: impl Iterator<Item = &'a Address>) -> Endpoint {
    let mut endpoint = Endpoint {
        target,
        ready: false,
        serving: false,
        terminating: true,
        is_local: false,
        may_be_own: false,
        hints: Hints::default(),
    };
    for it in said {
        endpoint.ready |= it.ready;
        endpoint.serving |= it.serving;
        endpoint.terminating &= it.terminating;
        endpoint.is_local |= it.runs == Runs::Here;
        endpoint.may_be_own |= it.runs != Runs::Elsewhere;
        if let Some(hints) = &it.hints {
            endpoint.hints.nodes.extend(hints.nodes.iter().cloned());
            endpoint.hints.zones.extend(hints.zones.iter().cloned());
        }
    }
    endpoint
}
