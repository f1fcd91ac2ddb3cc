//! The table's sets and maps, their keys and data. Never holds a byte of the
//! wire: that is `netlink`'s.

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

/// All sets of mode `nftables` in order of creation.
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

impl SetName {
    /// The name in the kernel.
    pub fn as_str(self) -> &'static str {
        match self {
            SetName::Services => "services",
            SetName::OutsideServices => "outside-services",
            SetName::NodePorts => "node-ports",
            SetName::OutsideNodePorts => "outside-node-ports",
            SetName::PickService => "pick-service",
            SetName::PickOutsideService => "pick-outside-service",
            SetName::PickNodePort => "pick-node-port",
            SetName::PickOutsideNodePort => "pick-outside-node-port",
            SetName::Unserved => "unserved",
            SetName::Endpoints => "endpoints",
            SetName::NodePortEndpoints => "node-port-endpoints",
            SetName::StickySlots => "sticky-slots",
            SetName::StickyNodePortSlots => "sticky-node-port-slots",
            SetName::StickyEndpoints => "sticky-endpoints",
            SetName::StickyNodePortEndpoints => "sticky-node-port-endpoints",
            SetName::Affinity => "affinity",
            SetName::NodePortAffinity => "node-port-affinity",
            SetName::Guards => "guards",
            SetName::PickGuard => "pick-guard",
            SetName::ClusterIps => "cluster-ips",
            SetName::Hairpin => "hairpin",
            SetName::Marks => "marks",
            SetName::Addresses => "addresses",
        }
    }

    /// The set with this name in the kernel.
    pub fn parse(name: &str) -> Option<SetName> {
        let all = SETS.into_iter().chain([SetName::Marks, SetName::Addresses]);
        all.into_iter().find(|set| set.as_str() == name)
    }

    /// The fields of the key.
    pub fn key(self) -> &'static [FieldType] {
        use FieldType::{Address, Number, Port, Protocol};
        match self {
            SetName::Services | SetName::OutsideServices | SetName::Guards | SetName::Marks => {
                &[Address, Protocol, Port]
            }
            SetName::NodePorts | SetName::OutsideNodePorts => &[Protocol, Port],
            SetName::PickService
            | SetName::PickOutsideService
            | SetName::PickNodePort
            | SetName::PickOutsideNodePort
            | SetName::PickGuard
            | SetName::Unserved => &[Number],
            SetName::Endpoints | SetName::StickySlots | SetName::StickyEndpoints => {
                &[Address, Protocol, Port, Number]
            }
            SetName::NodePortEndpoints
            | SetName::StickyNodePortSlots
            | SetName::StickyNodePortEndpoints => &[Protocol, Port, Number],
            SetName::Affinity => &[Address, Address, Protocol, Port],
            SetName::NodePortAffinity => &[Address, Protocol, Port],
            SetName::ClusterIps | SetName::Addresses => &[Address],
            SetName::Hairpin => &[Address, Address],
        }
    }

    /// What it maps to.
    pub fn data(self) -> DataType {
        match self {
            SetName::Services
            | SetName::OutsideServices
            | SetName::NodePorts
            | SetName::OutsideNodePorts
            | SetName::StickySlots
            | SetName::StickyNodePortSlots
            | SetName::Guards
            | SetName::Marks
            | SetName::Affinity
            | SetName::NodePortAffinity => DataType::Fields(&[FieldType::Number]),
            SetName::Endpoints
            | SetName::NodePortEndpoints
            | SetName::StickyEndpoints
            | SetName::StickyNodePortEndpoints => {
                DataType::Fields(&[FieldType::Address, FieldType::Port])
            }
            SetName::PickService
            | SetName::PickOutsideService
            | SetName::PickNodePort
            | SetName::PickOutsideNodePort
            | SetName::PickGuard
            | SetName::Unserved => DataType::Verdict,
            SetName::ClusterIps | SetName::Hairpin | SetName::Addresses => DataType::None,
        }
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
