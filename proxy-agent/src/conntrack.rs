//! Forgets tracked UDP and SCTP connections that lead to endpoints which are gone, or to
//! none because there was none then: a client that keeps its port would stay with them.
//! TCP ends by itself and is never touched, nor is a connection to anything but a
//! destination that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::netlink::{
    Attributes, CONNTRACK, KernelError, Messages, NESTED, Received, Socket, flag,
};
use crate::routes::{Destination, Family, Protocol, Target};

/// `IPCTNL_MSG_CT_*`
const GET: u8 = 1;
const DELETE: u8 = 2;
/// `CTA_*`
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER`, `CTA_FILTER_ORIG_FLAGS`, and which parts of the tuple count.
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_DESTINATION: u32 = 1 << 1;
const FILTER_PROTOCOL: u32 = 1 << 3;
const FILTER_DESTINATION_PORT: u32 = 1 << 5;
/// The kernel walks all connections for each question: with more destinations than
/// these, one question for each protocol is cheaper.
const MAX_EXACT: usize = 8;

/// The endpoints that destinations have now; none: nobody serves any more.
pub type Wanted = BTreeMap<Destination, BTreeSet<Target>>;

/// Whether connections of this protocol are cleaned at all.
pub fn is_cleaned(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Udp | Protocol::Sctp)
}

/// One tracked connection.
struct Entry {
    protocol: Protocol,
    /// Where the client sent to.
    to: Target,
    /// Who answers.
    answers: Target,
    /// The whole original tuple, to name it to the kernel.
    original: Vec<u8>,
}

impl Entry {
    fn read(message: &Received<'_>) -> Option<Entry> {
        let attributes = message.attributes();
        let original = attributes.inside(TUPLE_ORIGINAL)?;
        let reply = attributes.inside(TUPLE_REPLY)?;
        let transport = original.inside(TUPLE_PROTOCOL)?;
        Some(Entry {
            protocol: Protocol::from_number(*transport.find(PROTOCOL_NUMBER)?.first()?)?,
            to: Target {
                address: address(original, false)?,
                port: port(transport, DESTINATION_PORT)?,
            },
            answers: Target {
                address: address(reply, true)?,
                port: port(reply.inside(TUPLE_PROTOCOL)?, SOURCE_PORT)?,
            },
            original: original.0.to_vec(),
        })
    }

    /// Whether it keeps a client from where it should go now.
    fn is_stale(&self, wanted: &Wanted, own: &BTreeSet<IpAddr>) -> bool {
        let Entry { protocol, to, .. } = self;
        let to_address =
            Destination::Address { address: to.address, protocol: *protocol, port: to.port };
        let to_node = Destination::NodePort {
            family: Family::of(&to.address),
            protocol: *protocol,
            port: to.port,
        };
        let endpoints = wanted.get(&to_address).or_else(|| {
            let endpoints = wanted.get(&to_node)?;
            // The loopback network is the node's wholly.
            let is_own = to.address.is_loopback() || own.contains(&to.address);
            is_own.then_some(endpoints)
        });
        match endpoints {
            _ if !is_cleaned(*protocol) => false,
            // Nobody served when it began.
            Some(endpoints) if self.answers == *to => !endpoints.is_empty(),
            Some(endpoints) => !endpoints.contains(&self.answers),
            None => false,
        }
    }
}

/// This node's addresses, where a node port is asked about. What a socket can be bound to is
/// more than that where `ip_nonlocal_bind` is set.
fn own_addresses(wanted: &Wanted) -> Result<BTreeSet<IpAddr>, KernelError> {
    let is_node_port = |to: &Destination| matches!(to, Destination::NodePort { .. });
    if !wanted.keys().any(is_node_port) {
        return Ok(BTreeSet::new());
    }
    let own = crate::addresses::own().map_err(KernelError::Socket)?;
    Ok(own.into_iter().collect())
}

/// `CTA_IP_V4_SRC` … `CTA_IP_V6_DST`
fn address(tuple: Attributes<'_>, source: bool) -> Option<IpAddr> {
    let ip = tuple.inside(TUPLE_IP)?;
    let (v4, v6) = if source { (1, 3) } else { (2, 4) };
    if let Some(octets) = ip.find(v4) {
        return Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(ip.find(v6)?).ok()?))
}

fn port(transport: Attributes<'_>, kind: u16) -> Option<u16> {
    Some(u16::from_be_bytes(transport.find(kind)?.try_into().ok()?))
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Connections that the kernel told of.
    pub seen: usize,
    /// Those of them that were forgotten.
    pub forgotten: usize,
}

/// Forgets the stale connections of these destinations.
///
/// # Errors
/// A kernel without connection tracking over netlink, or without the right to it.
pub fn clean(wanted: &Wanted) -> Result<Cleaned, KernelError> {
    let mut cleaned = Cleaned::default();
    let questions = questions(wanted);
    if questions.is_empty() {
        return Ok(cleaned);
    }
    let own = own_addresses(wanted)?;
    let mut socket = Socket::open()?;
    for question in questions {
        let (seen, stale) = socket.dump(
            |messages: &mut Messages| question.write(messages),
            |(seen, stale): &mut (usize, Vec<Vec<u8>>), message| {
                *seen += 1;
                stale.extend(
                    Entry::read(message)
                        .filter(|entry| entry.is_stale(wanted, &own))
                        .map(|entry| entry.original),
                );
                Ok(())
            },
        )?;
        cleaned.seen += seen;
        for original in stale {
            let answer = socket.dump(
                |messages: &mut Messages| {
                    messages.begin(CONNTRACK, DELETE, flag::ACK, question.family.number());
                    messages.attribute(TUPLE_ORIGINAL | NESTED, &original);
                },
                |(): &mut (), _| Ok(()),
            );
            match answer {
                Ok(()) => cleaned.forgotten += 1,
                // It ended meanwhile.
                Err(KernelError::Socket(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(cleaned)
}

/// What the kernel is asked for; a kernel before 5.8 answers with all connections of the
/// family, which `is_stale` looks through as well.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    family: Family,
    protocol: Protocol,
    port: Option<u16>,
    address: Option<IpAddr>,
}

fn questions(wanted: &Wanted) -> BTreeSet<Question> {
    let cleaned = || wanted.keys().filter(|to| is_cleaned(to.transport().0));
    let is_exact = cleaned().count() <= MAX_EXACT;
    let question = |to: &Destination| {
        let (protocol, port) = to.transport();
        let address = match to {
            Destination::Address { address, .. } => Some(*address),
            Destination::NodePort { .. } => None,
        };
        Question {
            family: to.family(),
            protocol,
            port: is_exact.then_some(port),
            address: address.filter(|_| is_exact),
        }
    };
    cleaned().map(question).collect()
}

impl Question {
    fn write(&self, messages: &mut Messages) {
        messages.begin(CONNTRACK, GET, flag::DUMP, self.family.number());
        let mut parts = FILTER_PROTOCOL;
        let tuple = messages.nest(TUPLE_ORIGINAL);
        if let Some(address) = self.address {
            parts |= FILTER_DESTINATION;
            let ip = messages.nest(TUPLE_IP);
            match address {
                IpAddr::V4(address) => messages.attribute(2, &address.octets()),
                IpAddr::V6(address) => messages.attribute(4, &address.octets()),
            }
            messages.end(ip);
        }
        let transport = messages.nest(TUPLE_PROTOCOL);
        messages.attribute(PROTOCOL_NUMBER, &[self.protocol.number()]);
        if let Some(port) = self.port {
            parts |= FILTER_DESTINATION_PORT;
            messages.attribute(DESTINATION_PORT, &port.to_be_bytes());
        }
        messages.end(transport);
        messages.end(tuple);
        let filter = messages.nest(FILTER);
        messages.attribute(FILTER_ORIGINAL, &parts.to_ne_bytes());
        messages.end(filter);
    }
}
