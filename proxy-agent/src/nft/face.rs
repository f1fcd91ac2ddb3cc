//! The maps from destination to value, each with those that go with it.

use super::rule::Field;
use super::set::SetName;

/// Slots of the endpoints for packets from outside start here, above any slot
/// for packets from inside.
pub const OUTSIDE_SLOT: u32 = 0x8000;

/// The four maps from destination to value, with all that goes with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Face {
    /// The node's own addresses, or one address.
    pub node_port: bool,
    /// As seen from outside the cluster.
    pub outside: bool,
}

/// All faces.
pub const FACES: [Face; 4] = [
    Face { node_port: false, outside: false },
    Face { node_port: false, outside: true },
    Face { node_port: true, outside: false },
    Face { node_port: true, outside: true },
];

/// The fields of a destination with an address.
pub const ADDRESS_KEY: &[Field] = &[Field::Destination, Field::Protocol, Field::Port];
const NODE_PORT_KEY: &[Field] = &[Field::Protocol, Field::Port];
const ADDRESS_CLIENT: &[Field] = &[Field::Source, Field::Destination, Field::Protocol, Field::Port];
const NODE_PORT_CLIENT: &[Field] = &[Field::Source, Field::Protocol, Field::Port];

impl Face {
    /// Destination → value.
    pub fn values(self) -> SetName {
        match (self.node_port, self.outside) {
            (false, false) => SetName::Services,
            (false, true) => SetName::OutsideServices,
            (true, false) => SetName::NodePorts,
            (true, true) => SetName::OutsideNodePorts,
        }
    }

    /// Value → chain.
    pub fn pick(self) -> SetName {
        match (self.node_port, self.outside) {
            (false, false) => SetName::PickService,
            (false, true) => SetName::PickOutsideService,
            (true, false) => SetName::PickNodePort,
            (true, true) => SetName::PickOutsideNodePort,
        }
    }

    /// Slot → endpoint.
    pub fn endpoints(self) -> SetName {
        if self.node_port { SetName::NodePortEndpoints } else { SetName::Endpoints }
    }

    /// The chain in which the number drawn becomes an endpoint.
    pub fn endpoint_chain(self) -> &'static str {
        if self.node_port { "node-port-endpoint" } else { "endpoint" }
    }

    /// Slot → identity.
    pub fn sticky_slots(self) -> SetName {
        if self.node_port { SetName::StickyNodePortSlots } else { SetName::StickySlots }
    }

    /// Identity → endpoint.
    pub fn sticky_endpoints(self) -> SetName {
        if self.node_port { SetName::StickyNodePortEndpoints } else { SetName::StickyEndpoints }
    }

    /// Client → identity.
    pub fn affinity(self) -> SetName {
        if self.node_port { SetName::NodePortAffinity } else { SetName::Affinity }
    }

    /// The destination's fields.
    pub fn key(self) -> &'static [Field] {
        if self.node_port { NODE_PORT_KEY } else { ADDRESS_KEY }
    }

    /// The fields of a client of the destination.
    pub fn client_key(self) -> &'static [Field] {
        if self.node_port { NODE_PORT_CLIENT } else { ADDRESS_CLIENT }
    }

    /// The first slot.
    pub fn first_slot(self) -> u32 {
        if self.outside { OUTSIDE_SLOT } else { 0 }
    }

    /// The destination's fields and one more.
    pub fn key_with(self, last: Field) -> Vec<Field> {
        self.key().iter().copied().chain([last]).collect()
    }
}
