//! Forgets tracked UDP connections that lead to endpoints which are gone, or to
//! none because there was none then: a UDP client that keeps its port would stay
//! with them. TCP ends by itself and is never touched, nor is a connection to
//! anything but a destination that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Destination, Family, Protocol, Target};
use crate::netlink::{Attributes, CONNTRACK, KernelError, Messages, Received, Socket, flag};

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
/// An attribute that holds others.
const NESTED: u16 = 0x8000;

/// The endpoints that destinations have now; none: nobody serves any more.
pub type Wanted = BTreeMap<Destination, BTreeSet<Target>>;

/// One tracked connection.
struct Entry {
    protocol: u8,
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
            protocol: *transport.find(PROTOCOL_NUMBER)?.first()?,
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
    fn is_stale(&self, wanted: &Wanted) -> bool {
        if self.protocol != Protocol::Udp.number() {
            return false;
        }
        let Target { address, port } = self.to;
        let protocol = Protocol::Udp;
        let to_address = Destination::Address {
            address,
            protocol,
            port,
        };
        let to_node = Destination::NodePort {
            family: Family::of(&address),
            protocol,
            port,
        };
        let untouched = self.answers == self.to;
        match (wanted.get(&to_address), wanted.get(&to_node)) {
            (Some(endpoints), _) if untouched => !endpoints.is_empty(),
            (None, Some(endpoints)) if untouched => !endpoints.is_empty(),
            (Some(endpoints), _) | (None, Some(endpoints)) => !endpoints.contains(&self.answers),
            (None, None) => false,
        }
    }
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

/// Forgets the stale connections of these destinations; says how many.
///
/// # Errors
/// A kernel without connection tracking over netlink, or without the right to it.
pub fn clean(wanted: &Wanted) -> Result<usize, KernelError> {
    let mut forgotten = 0;
    for family in [Family::V4, Family::V6] {
        if !wanted
            .keys()
            .any(|destination| destination.family() == family)
        {
            continue;
        }
        let number = match family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        let mut socket = Socket::open()?;
        let stale: Vec<Vec<u8>> = socket.dump(
            |messages: &mut Messages| messages.begin(CONNTRACK, GET, flag::DUMP, number),
            |stale: &mut Vec<Vec<u8>>, message| {
                stale.extend(
                    Entry::read(message)
                        .filter(|entry| entry.is_stale(wanted))
                        .map(|entry| entry.original),
                );
                Ok(())
            },
        )?;
        for original in stale {
            let answer = socket.dump(
                |messages: &mut Messages| {
                    messages.begin(CONNTRACK, DELETE, flag::ACK, number);
                    messages.attribute(TUPLE_ORIGINAL | NESTED, &original);
                },
                |(): &mut (), _| Ok(()),
            );
            match answer {
                Ok(()) => forgotten += 1,
                // It ended meanwhile.
                Err(KernelError::Socket(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(forgotten)
}
