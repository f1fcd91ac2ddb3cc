//! Virtual servers and the real servers behind them, in the kernel's words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::routes::{Destination, Family, Protocol, Target};

/// The low half of a mark that is ours. It leaves the bits alone that upstream's other
/// modes use, 14 and 15.
pub const MARK_SIGN: u32 = 0x3056;
/// The bits that say whose a mark is; the others number it.
pub const MARK_MASK: u32 = 0xffff;
/// Destinations with a mark of their own at most; the next ones treat packets from
/// outside as those from inside.
pub const MAX_MARKS: u32 = 0xfffe;
/// The mark that no destination gets, to try with.
pub const SPARE_MARK: u32 = mark_of(MAX_MARKS);

/// The mark with this number, from 0 to [`MAX_MARKS`], which no destination gets.
pub const fn mark_of(number: u32) -> u32 {
    (number + 1) << 16 | MARK_SIGN
}

/// Whether a mark is one that [`mark_of`] makes.
pub fn is_our_mark(mark: u32) -> bool {
    mark & MARK_MASK == MARK_SIGN && mark >> 16 != 0
}

/// One address that packets are sent to, with protocol and port: a Service's, or one of
/// the node's with a node port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl Frontend {
    /// The catalog's word for it.
    pub fn destination(self) -> Destination {
        Destination::Address { address: self.address, protocol: self.protocol, port: self.port }
    }

    /// The first and the last one with this address.
    pub fn range_of(address: IpAddr) -> std::ops::RangeInclusive<Frontend> {
        let frontend = |protocol, port| Frontend { address, protocol, port };
        frontend(Protocol::Tcp, 0)..=frontend(Protocol::Sctp, u16::MAX)
    }
}

/// What a virtual server is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// It takes packets to this address, protocol and port.
    Frontend(Frontend),
    /// It takes packets with this mark, whatever their destination.
    Mark(Family, u32),
}

impl Name {
    /// The family of its packets.
    pub fn family(&self) -> Family {
        match self {
            Name::Frontend(frontend) => Family::of(&frontend.address),
            Name::Mark(family, _) => *family,
        }
    }
}

/// How a virtual server chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// The kernel's name of the scheduler.
    pub scheduler: String,
    /// Seconds that a client is remembered; `None`: not at all.
    pub persistent_seconds: Option<u32>,
}

/// A real server: an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealServer {
    /// 1, or 0 while it only keeps the connections that it has.
    pub weight: u32,
    /// Connections that it had when it was looked at; `None`: not known.
    pub connections: Option<u32>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// How it chooses.
    pub scheduling: Scheduling,
    /// Among whom.
    pub reals: BTreeMap<Target, RealServer>,
}
