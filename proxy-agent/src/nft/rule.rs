//! Chains and rules as data: the statements that our tables need and no more.

use ipnet::IpNet;

use super::set::{SetName, Verdict};
use crate::routes::Protocol;

/// Where a base chain hooks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// For this node.
    Input,
    /// Through this node.
    Forward,
    /// From this node.
    Output,
    /// On the way out.
    Postrouting,
}

/// A base chain's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Sees each packet.
    Filter,
    /// Sees the first packet of each connection.
    Nat,
}

/// A base chain's hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The type.
    pub chain_type: ChainType,
    /// The point.
    pub point: HookPoint,
    /// The priority, lowest first.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// `None` for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// A rule: statements from left to right until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The statements.
    pub statements: Vec<Statement>,
}

/// A field of the packet that a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Transport protocol.
    Protocol,
    /// Destination port.
    Port,
    /// The packet's scratch word: `meta priority`.
    Scratch,
}

/// Source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The connection's first packet.
    CtNew,
    /// Neither of a connection that is known nor related to one.
    CtUnknown,
    /// The connection's destination was (not) replaced.
    CtDnat(bool),
    /// The address is (not) in the network.
    InNetwork(End, IpNet, bool),
    /// The packet did not come in from this interface, or one whose name begins so.
    NotFromInterface {
        /// The name, or its beginning.
        name: String,
        /// Which of the two.
        is_prefix: bool,
    },
    /// The address is (not) one of this node's.
    IsLocal(End, bool),
    /// The transport protocol.
    IsProtocol(Protocol),
    /// The fields are in the set.
    InSet(&'static [Field], SetName),
    /// Any of the mark's bits is set.
    HasMark(u32),
    /// Sets bits of the mark.
    SetMark(u32),
    /// Clears bits of the mark.
    ClearMark(u32),
    /// The masked mark has this value.
    MarkIs {
        /// Which bits.
        mask: u32,
        /// Their value.
        value: u32,
    },
    /// Looks the fields up and makes the result the mark; no such element ends the rule.
    LoadMark(&'static [Field], SetName),
    /// Writes the scratch word.
    SetScratch(u32),
    /// Writes a random number below `modulus`, plus `offset`, into the scratch word.
    DrawScratch {
        /// Constant in the kernel.
        modulus: u32,
        /// Added.
        offset: u32,
    },
    /// Looks the fields up and writes the result into the scratch word; no such
    /// element ends the rule.
    LoadScratch(Vec<Field>, SetName),
    /// The verdict that the map has for the scratch word, if any.
    ScratchVerdict(SetName),
    /// Remembers the scratch word for the fields, or refreshes the timeout.
    Remember {
        /// The key.
        key: &'static [Field],
        /// The map.
        set: SetName,
        /// The timeout.
        timeout_seconds: u32,
    },
    /// Forgets what was remembered.
    Forget(&'static [Field], SetName),
    /// Replaces the destination by what the map has; no such element ends the rule.
    Dnat(Vec<Field>, SetName),
    /// Replaces the source by this node's address on the way out.
    Masquerade,
    /// Refuses with a reset.
    RejectTcp,
    /// Refuses with ICMP "port unreachable".
    RejectIcmp,
    /// A verdict.
    Verdict(Verdict),
}
