//! IPVS over generic netlink: operations out, virtual servers in. Never touches what is
//! not named to it.
//!
//! The source of the numbers is `linux/ip_vs.h`, and `linux/genetlink.h` for the family.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::mode::ipvs::kernel::{KernelError, Op};
use crate::mode::ipvs::server::{
    Frontend, Name, RealServer, SPARE_MARK, Scheduling, VirtualServer,
};
use crate::netlink::{Attributes, Messages, Socket, flag};
use crate::routes::{Family, Protocol, Target};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_*`
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `IPVS_CMD_*`
const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DELETE_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DESTINATION: u8 = 5;
const SET_DESTINATION: u8 = 6;
const DELETE_DESTINATION: u8 = 7;
const GET_DESTINATION: u8 = 8;
const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;
/// `IPVS_CMD_ATTR_*`
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const TIMEOUTS: [u16; 3] = [4, 5, 6];
/// `IPVS_SVC_ATTR_*`
mod service {
    pub const FAMILY: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const ADDRESS: u16 = 3;
    pub const PORT: u16 = 4;
    pub const MARK: u16 = 5;
    pub const SCHEDULER: u16 = 6;
    pub const FLAGS: u16 = 7;
    pub const TIMEOUT: u16 = 8;
    pub const NETMASK: u16 = 9;
}
/// `IPVS_DEST_ATTR_*`
mod destination {
    pub const ADDRESS: u16 = 1;
    pub const PORT: u16 = 2;
    pub const FORWARD: u16 = 3;
    pub const WEIGHT: u16 = 4;
    pub const UPPER: u16 = 5;
    pub const LOWER: u16 = 6;
    pub const ACTIVE: u16 = 7;
    pub const INACTIVE: u16 = 8;
    pub const FAMILY: u16 = 11;
}
/// `IP_VS_SVC_F_PERSISTENT`
const PERSISTENT: u32 = 1;
/// `IP_VS_CONN_F_MASQ`: the destination is replaced.
const MASQUERADE: u32 = 0;
/// The header that generic netlink puts before attributes.
const HEADER: usize = 4;
/// A batch ends with the message that makes it longer than this.
const BATCH_BYTES: usize = 64 << 10;

/// An operation on virtual servers.
pub struct ServerOp<'a>(pub &'a Op);

/// IPVS.
pub struct Servers {
    socket: Socket,
    /// The number that generic netlink has given to IPVS.
    id: u16,
    family: Family,
}

impl Servers {
    /// Asks generic netlink for IPVS, which makes the kernel load the module.
    pub fn open(family: Family) -> Result<Servers, KernelError> {
        let mut socket = Socket::open_generic()?;
        let id: Option<u16> = socket.dump(
            |messages| {
                messages.begin_with(CONTROL, flag::ACK, &[GET_FAMILY, 1, 0, 0]);
                messages.string(FAMILY_NAME, "IPVS");
            },
            |id: &mut Option<u16>, message| {
                let bytes = message.attributes_after(HEADER).find(FAMILY_ID);
                *id = id.or(bytes.and_then(half));
                Ok(())
            },
        )?;
        Ok(Servers { socket, id: id.ok_or(KernelError::Malformed("no number for IPVS"))?, family })
    }

    /// Makes a virtual server for a mark that no destination gets, and removes it.
    pub fn probe(&mut self, scheduler: &str) -> Result<(), KernelError> {
        let name = Name::Mark(self.family, SPARE_MARK);
        // What was left by a kill.
        let _ = self.commit(&[ServerOp(&Op::DeleteServer(name))]);
        let scheduling = Scheduling { scheduler: scheduler.to_owned(), persistent_seconds: None };
        for op in [Op::AddServer(name, scheduling), Op::DeleteServer(name)] {
            let result = self.commit(&[ServerOp(&op)]);
            result.map_err(|error| match error {
                KernelError::RefusedThat { error, .. } => KernelError::Socket(error),
                other => other,
            })?;
        }
        Ok(())
    }

    /// All virtual servers of the family, with connections.
    pub fn dump(&mut self) -> Result<BTreeMap<Name, VirtualServer>, KernelError> {
        let (id, family) = (self.id, self.family);
        let found: Vec<(Name, Scheduling)> = self.socket.dump(
            |messages| messages.begin_with(id, flag::DUMP, &[GET_SERVICE, 1, 0, 0]),
            |found: &mut Vec<_>, message| {
                let service = message.attributes_after(HEADER).inside(SERVICE);
                found.extend(service.and_then(read_service));
                Ok(())
            },
        )?;
        let mut servers = BTreeMap::new();
        for (name, scheduling) in found.into_iter().filter(|(name, _)| name.family() == family) {
            let reals = self.reals(&name)?;
            servers.insert(name, VirtualServer { scheduling, reals });
        }
        Ok(servers)
    }

    fn reals(&mut self, name: &Name) -> Result<BTreeMap<Target, RealServer>, KernelError> {
        let (id, family) = (self.id, self.family);
        self.socket.dump(
            |messages| {
                messages.begin_with(id, flag::DUMP, &[GET_DESTINATION, 1, 0, 0]);
                let nest = messages.nest(SERVICE);
                write_name(messages, name);
                messages.end(nest);
            },
            |reals: &mut BTreeMap<_, _>, message| {
                let destination = message.attributes_after(HEADER).inside(DESTINATION);
                reals.extend(destination.and_then(|real| read_destination(real, family)));
                Ok(())
            },
        )
    }

    /// The connections of a virtual server's real servers.
    pub fn connections(&mut self, name: &Name) -> Result<BTreeMap<Target, u32>, KernelError> {
        let reals = self.reals(name)?.into_iter();
        Ok(reals.map(|(target, real)| (target, real.connections.unwrap_or_default())).collect())
    }

    /// The timeouts of connections: TCP, TCP after a FIN, UDP.
    pub fn timeouts(&mut self) -> Result<[u32; 3], KernelError> {
        let id = self.id;
        self.socket.dump(
            |messages| messages.begin_with(id, flag::ACK, &[GET_CONFIG, 1, 0, 0]),
            |timeouts: &mut [u32; 3], message| {
                let attributes = message.attributes_after(HEADER);
                for (timeout, kind) in timeouts.iter_mut().zip(TIMEOUTS) {
                    *timeout = attributes.find(kind).and_then(word).unwrap_or(*timeout);
                }
                Ok(())
            },
        )
    }

    /// Does the operations in order.
    pub fn commit(&mut self, ops: &[ServerOp<'_>]) -> Result<(), KernelError> {
        let mut rest = ops;
        while !rest.is_empty() {
            let mut messages = Messages::new();
            let mut count = 0;
            while let Some(ServerOp(op)) = rest.get(count)
                && messages.len() < BATCH_BYTES
            {
                self.write(&mut messages, op);
                count += 1;
            }
            let (sent, others) = rest.split_at(count);
            let sent: Vec<&Op> = sent.iter().map(|op| op.0).collect();
            let result = self.socket.commit(&messages.into_bytes());
            result.map_err(|error| error.of(&sent))?;
            rest = others;
        }
        Ok(())
    }

    fn write(&self, messages: &mut Messages, op: &Op) {
        let (command, name) = match op {
            Op::AddServer(name, _) => (NEW_SERVICE, name),
            Op::SetServer(name, _) => (SET_SERVICE, name),
            Op::DeleteServer(name) => (DELETE_SERVICE, name),
            Op::AddReal(name, ..) => (NEW_DESTINATION, name),
            Op::SetReal(name, ..) => (SET_DESTINATION, name),
            Op::DeleteReal(name, _) => (DELETE_DESTINATION, name),
            Op::SetTimeouts(seconds) => {
                messages.begin_with(self.id, flag::ACK, &[SET_CONFIG, 1, 0, 0]);
                for (kind, seconds) in TIMEOUTS.into_iter().zip(seconds) {
                    messages.attribute(kind, &seconds.to_ne_bytes());
                }
                return;
            }
            // The caller sends the others elsewhere.
            _ => return,
        };
        messages.begin_with(self.id, flag::ACK, &[command, 1, 0, 0]);
        let nest = messages.nest(SERVICE);
        write_name(messages, name);
        if let Op::AddServer(_, scheduling) | Op::SetServer(_, scheduling) = op {
            write_scheduling(messages, name, scheduling);
        }
        messages.end(nest);
        match op {
            Op::AddReal(_, target, weight) | Op::SetReal(_, target, weight) => {
                write_destination(messages, target, Some(*weight));
            }
            Op::DeleteReal(_, target) => write_destination(messages, target, None),
            _ => {}
        }
    }
}

fn write_name(messages: &mut Messages, name: &Name) {
    let family = u16::from(name.family().number());
    messages.attribute(service::FAMILY, &family.to_ne_bytes());
    match name {
        Name::Frontend(frontend) => {
            let protocol = u16::from(frontend.protocol.number());
            messages.attribute(service::PROTOCOL, &protocol.to_ne_bytes());
            messages.attribute(service::ADDRESS, &address_bytes(&frontend.address));
            messages.attribute(service::PORT, &frontend.port.to_be_bytes());
        }
        Name::Mark(_, mark) => messages.attribute(service::MARK, &mark.to_ne_bytes()),
    }
}

fn write_scheduling(messages: &mut Messages, name: &Name, scheduling: &Scheduling) {
    messages.string(service::SCHEDULER, &scheduling.scheduler);
    let seconds = scheduling.persistent_seconds;
    let flags = if seconds.is_some() { PERSISTENT } else { 0 };
    // Flags, and which of them are meant.
    let flags = [flags.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
    messages.attribute(service::FLAGS, &flags);
    messages.attribute(service::TIMEOUT, &seconds.unwrap_or(0).to_ne_bytes());
    // A client is one address.
    let netmask = match name.family() {
        Family::V4 => u32::MAX,
        Family::V6 => 128,
    };
    messages.attribute(service::NETMASK, &netmask.to_ne_bytes());
}

fn write_destination(messages: &mut Messages, target: &Target, weight: Option<u32>) {
    let nest = messages.nest(DESTINATION);
    let family = u16::from(Family::of(&target.address).number());
    messages.attribute(destination::ADDRESS, &address_bytes(&target.address));
    messages.attribute(destination::PORT, &target.port.to_be_bytes());
    messages.attribute(destination::FAMILY, &family.to_ne_bytes());
    if let Some(weight) = weight {
        for (kind, number) in [
            (destination::FORWARD, MASQUERADE),
            (destination::WEIGHT, weight),
            (destination::UPPER, 0),
            (destination::LOWER, 0),
        ] {
            messages.attribute(kind, &number.to_ne_bytes());
        }
    }
    messages.end(nest);
}

/// An address as the kernel keeps it: in the first of sixteen bytes.
fn address_bytes(address: &IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn read_address(bytes: &[u8], family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        Family::V6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?)),
    }
}

fn half(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// `None` for one that no Service can have.
fn read_service(attributes: Attributes<'_>) -> Option<(Name, Scheduling)> {
    let family = match half(attributes.find(service::FAMILY)?)? {
        2 => Family::V4,
        10 => Family::V6,
        _ => return None,
    };
    let name = match attributes.find(service::MARK) {
        Some(mark) => Name::Mark(family, word(mark)?),
        None => Name::Frontend(Frontend {
            address: read_address(attributes.find(service::ADDRESS)?, family)?,
            protocol: Protocol::from_number(
                u8::try_from(half(attributes.find(service::PROTOCOL)?)?).ok()?,
            )?,
            port: port(attributes.find(service::PORT)?)?,
        }),
    };
    let flags = word(attributes.find(service::FLAGS)?)?;
    let seconds = word(attributes.find(service::TIMEOUT)?)?;
    let scheduling = Scheduling {
        scheduler: attributes.text(service::SCHEDULER)?.to_owned(),
        persistent_seconds: (flags & PERSISTENT != 0).then_some(seconds),
    };
    Some((name, scheduling))
}

fn read_destination(attributes: Attributes<'_>, family: Family) -> Option<(Target, RealServer)> {
    let target = Target {
        address: read_address(attributes.find(destination::ADDRESS)?, family)?,
        port: port(attributes.find(destination::PORT)?)?,
    };
    let active = word(attributes.find(destination::ACTIVE)?)?;
    let inactive = word(attributes.find(destination::INACTIVE)?)?;
    let real = RealServer {
        weight: word(attributes.find(destination::WEIGHT)?)?,
        connections: Some(active.saturating_add(inactive)),
    };
    Some((target, real))
}
