//! The sets and maps of our tables, their keys and data.

use std::net::IpAddr;

use crate::routes::{Destination, Dirty, Target};

/// A set or map of the table. The order is that of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetName {
    /// Destination → value, as seen from inside the cluster.
    Services,
    /// Destination → value, where packets from outside go elsewhere.
    OutsideServices,
    /// Protocol and port on the node's own addresses → value.
    NodePorts,
    /// The same, where packets from outside go elsewhere.
    OutsideNodePorts,
    /// Value → chain that chooses an endpoint, one map per map of values.
    PickService,
    /// See `PickService`.
    PickOutsideService,
    /// See `PickService`.
    PickNodePort,
    /// See `PickService`.
    PickOutsideNodePort,
    /// Value of a destination without endpoints → what to do with the packet.
    Unserved,
    /// Destination and slot → endpoint.
    Endpoints,
    /// Node port and slot → endpoint.
    NodePortEndpoints,
    /// Destination and slot → endpoint's identity, with session affinity.
    StickySlots,
    /// Node port and slot → endpoint's identity, with session affinity.
    StickyNodePortSlots,
    /// Destination and identity → endpoint: the live ones.
    StickyEndpoints,
    /// Node port and identity → endpoint: the live ones.
    StickyNodePortEndpoints,
    /// Client and destination → identity; the kernel fills it.
    Affinity,
    /// Client and node port → identity; the kernel fills it.
    NodePortAffinity,
    /// Destination → value of the list of those who may use it.
    Guards,
    /// Value of a list → chain that drops all others.
    PickGuard,
    /// Every cluster IP.
    ClusterIps,
    /// Source and endpoint, where both are one pod that comes through this node.
    Hairpin,
    /// Mode `ipvs`: destination → the mark of packets from outside.
    Marks,
    /// Mode `ipvs`: every address that its interface carries.
    Addresses,
}

/// All sets of the table of `dnat` in order of creation.
pub const SETS: [SetName; 21] = [
    SetName::Services,
    SetName::OutsideServices,
    SetName::NodePorts,
    SetName::OutsideNodePorts,
    SetName::PickService,
    SetName::PickOutsideService,
    SetName::PickNodePort,
    SetName::PickOutsideNodePort,
    SetName::Unserved,
    SetName::Endpoints,
    SetName::NodePortEndpoints,
    SetName::StickySlots,
    SetName::StickyNodePortSlots,
    SetName::StickyEndpoints,
    SetName::StickyNodePortEndpoints,
    SetName::Affinity,
    SetName::NodePortAffinity,
    SetName::Guards,
    SetName::PickGuard,
    SetName::ClusterIps,
    SetName::Hairpin,
];

/// The type of one field of a key or of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// An address of the table's family.
    Address,
    /// A protocol number.
    Protocol,
    /// A port.
    Port,
    /// A 32-bit number in host order: value, slot or identity.
    Number,
}

/// What a set maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// Nothing: a plain set.
    None,
    /// Fields.
    Fields(&'static [FieldType]),
    /// A verdict.
    Verdict,
}

const ADDRESS: &[FieldType] = &[FieldType::Address];
const PAIR: &[FieldType] = &[FieldType::Address, FieldType::Address];
const VALUE: &[FieldType] = &[FieldType::Number];
const NODE_PORT: &[FieldType] = &[FieldType::Protocol, FieldType::Port];
const NODE_PORT_SLOT: &[FieldType] = &[FieldType::Protocol, FieldType::Port, FieldType::Number];
const TO: &[FieldType] = &[FieldType::Address, FieldType::Protocol, FieldType::Port];
const TO_SLOT: &[FieldType] =
    &[FieldType::Address, FieldType::Protocol, FieldType::Port, FieldType::Number];
const CLIENT_TO: &[FieldType] =
    &[FieldType::Address, FieldType::Address, FieldType::Protocol, FieldType::Port];
const NUMBER: DataType = DataType::Fields(VALUE);
const ENDPOINT: DataType = DataType::Fields(&[FieldType::Address, FieldType::Port]);

impl SetName {
    /// Its name in the kernel, the fields of its key, and what it maps to.
    const fn row(self) -> (&'static str, &'static [FieldType], DataType) {
        match self {
            SetName::Services => ("services", TO, NUMBER),
            SetName::OutsideServices => ("outside-services", TO, NUMBER),
            SetName::NodePorts => ("node-ports", NODE_PORT, NUMBER),
            SetName::OutsideNodePorts => ("outside-node-ports", NODE_PORT, NUMBER),
            SetName::PickService => ("pick-service", VALUE, DataType::Verdict),
            SetName::PickOutsideService => ("pick-outside-service", VALUE, DataType::Verdict),
            SetName::PickNodePort => ("pick-node-port", VALUE, DataType::Verdict),
            SetName::PickOutsideNodePort => ("pick-outside-node-port", VALUE, DataType::Verdict),
            SetName::Unserved => ("unserved", VALUE, DataType::Verdict),
            SetName::Endpoints => ("endpoints", TO_SLOT, ENDPOINT),
            SetName::NodePortEndpoints => ("node-port-endpoints", NODE_PORT_SLOT, ENDPOINT),
            SetName::StickySlots => ("sticky-slots", TO_SLOT, NUMBER),
            SetName::StickyNodePortSlots => ("sticky-node-port-slots", NODE_PORT_SLOT, NUMBER),
            SetName::StickyEndpoints => ("sticky-endpoints", TO_SLOT, ENDPOINT),
            SetName::StickyNodePortEndpoints => {
                ("sticky-node-port-endpoints", NODE_PORT_SLOT, ENDPOINT)
            }
            SetName::Affinity => ("affinity", CLIENT_TO, NUMBER),
            SetName::NodePortAffinity => ("node-port-affinity", TO, NUMBER),
            SetName::Guards => ("guards", TO, NUMBER),
            SetName::PickGuard => ("pick-guard", VALUE, DataType::Verdict),
            SetName::ClusterIps => ("cluster-ips", ADDRESS, DataType::None),
            SetName::Hairpin => ("hairpin", PAIR, DataType::None),
            SetName::Marks => ("marks", TO, NUMBER),
            SetName::Addresses => ("addresses", ADDRESS, DataType::None),
        }
    }

    /// The name in the kernel.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The set with this name in the kernel.
    pub fn parse(name: &str) -> Option<SetName> {
        let all = SETS.into_iter().chain([SetName::Marks, SetName::Addresses]);
        all.into_iter().find(|set| set.as_str() == name)
    }

    /// The fields of the key.
    pub fn key(self) -> &'static [FieldType] {
        self.row().1
    }

    /// What it maps to.
    pub fn data(self) -> DataType {
        self.row().2
    }

    /// Whether packets fill it, so that its elements are no business of the diff.
    pub fn is_dynamic(self) -> bool {
        matches!(self, SetName::Affinity | SetName::NodePortAffinity)
    }
}

/// An element's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A destination.
    Destination(Destination),
    /// A destination with a slot or an identity.
    Slot(Destination, u32),
    /// An address.
    Address(IpAddr),
    /// An address as both source and destination.
    Pair(IpAddr),
    /// A value.
    Value(u32),
}

impl Key {
    /// Adds what the key is about to the keys to look up again.
    pub fn note(self, keys: &mut Dirty) {
        match self {
            Key::Destination(to) | Key::Slot(to, _) => {
                keys.destinations.insert(to);
            }
            Key::Address(address) => {
                keys.cluster_ips.insert(address);
            }
            Key::Pair(address) => {
                keys.own_endpoints.insert(address);
            }
            Key::Value(_) => {}
        }
    }
}

/// An element's data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Of a plain set.
    None,
    /// A value or identity.
    Value(u32),
    /// An endpoint.
    Target(Target),
    /// A verdict.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No more chains of this hook's table.
    Accept,
    /// No more packet.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Go on in a chain, and come back.
    Jump(String),
    /// Go on in a chain.
    Goto(String),
}
