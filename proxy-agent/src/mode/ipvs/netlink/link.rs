//! The interface `kube-ipvs0` and the node's addresses, over rtnetlink. Never touches
//! another interface.
//!
//! The sources of the numbers are `linux/rtnetlink.h`, `linux/if_link.h` and
//! `linux/if_addr.h`.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::INTERFACE;
use crate::mode::ipvs::kernel::KernelError;
use crate::netlink::{Attributes, Messages, Socket, flag};
use crate::routes::Family;

/// `RTM_*`
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
/// `IFLA_IFNAME`, `IFLA_LINKINFO`, `IFLA_INFO_KIND`
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// `IFA_*`
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const FLAGS: u16 = 8;
/// `IFA_F_NODAD`: nobody else is asked first.
const WITHOUT_DETECTION: u32 = 2;
/// `NLM_F_EXCL`
const EXCLUSIVE: u16 = 0x200;
/// `struct ifinfomsg`, `struct ifaddrmsg`
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// A batch ends with the message that makes it longer than this.
const BATCH_BYTES: usize = 64 << 10;

/// One change.
#[derive(Clone, Copy, Debug)]
pub enum LinkOp {
    AddInterface,
    DeleteInterface,
    AddAddress(IpAddr),
    DeleteAddress(IpAddr),
}

/// rtnetlink.
pub struct Link {
    socket: Socket,
    family: Family,
}

impl Link {
    pub fn open(family: Family) -> io::Result<Link> {
        Ok(Link { socket: Socket::open_route()?, family })
    }

    fn index(&mut self) -> Result<Option<u32>, KernelError> {
        let answer = self.socket.dump(
            |messages| {
                messages.begin_with(GET_LINK, flag::ACK, &[0; LINK_HEADER]);
                messages.string(LINK_NAME, INTERFACE);
            },
            |index: &mut Option<u32>, message| {
                let bytes = message.payload.get(4..8).and_then(|b| b.try_into().ok());
                *index = index.or(bytes.map(u32::from_ne_bytes));
                Ok(())
            },
        );
        match answer {
            Err(KernelError::Socket(error)) if is_no_device(&error) => Ok(None),
            other => other,
        }
    }

    pub fn has_interface(&mut self) -> Result<bool, KernelError> {
        Ok(self.index()?.is_some())
    }

    /// The interface's addresses, and the node's others but for loopback and those that
    /// are only for one link.
    pub fn addresses(&mut self) -> Result<(BTreeSet<IpAddr>, BTreeSet<IpAddr>), KernelError> {
        let index = self.index()?;
        let number = self.family.number();
        let all: Vec<(u32, IpAddr)> = self.socket.dump(
            |messages| {
                let mut header = [0; ADDRESS_HEADER];
                header[0] = number;
                messages.begin_with(GET_ADDRESS, flag::DUMP, &header);
            },
            |all: &mut Vec<(u32, IpAddr)>, message| {
                let bytes = message.payload.get(4..8).and_then(|b| b.try_into().ok());
                let attributes = message.attributes_after(ADDRESS_HEADER);
                // A kernel without the family answers with another's.
                if message.family() == number
                    && let (Some(bytes), Some(address)) = (bytes, address_of(attributes))
                {
                    all.push((u32::from_ne_bytes(bytes), address));
                }
                Ok(())
            },
        )?;
        let mut carried = BTreeSet::new();
        let mut own = BTreeSet::new();
        for (at, address) in all {
            if is_of_link(&address) || address.is_loopback() {
                continue;
            }
            if Some(at) == index {
                carried.insert(address);
            } else {
                own.insert(address);
            }
        }
        Ok((carried, own))
    }

    pub fn commit(&mut self, ops: &[LinkOp]) -> Result<(), KernelError> {
        let mut rest = ops;
        while let Some((first, others)) = rest.split_first() {
            // An address needs the number that the interface got.
            let index = match first {
                LinkOp::AddInterface => 0,
                _ => self.index()?.unwrap_or_default(),
            };
            let mut messages = Messages::new();
            self.write(&mut messages, first, index);
            let mut sent = vec![*first];
            rest = others;
            while let Some((next, others)) = rest.split_first()
                && index != 0
                && messages.len() < BATCH_BYTES
            {
                self.write(&mut messages, next, index);
                sent.push(*next);
                rest = others;
            }
            let result = self.socket.commit(&messages.into_bytes());
            result.map_err(|error| error.of(&sent))?;
        }
        Ok(())
    }

    fn write(&self, messages: &mut Messages, op: &LinkOp, index: u32) {
        match op {
            LinkOp::AddInterface => {
                let flags = flag::ACK | flag::CREATE | EXCLUSIVE;
                messages.begin_with(NEW_LINK, flags, &[0; LINK_HEADER]);
                messages.string(LINK_NAME, INTERFACE);
                let nest = messages.nest(LINK_INFO);
                messages.string(INFO_KIND, "dummy");
                messages.end(nest);
            }
            LinkOp::DeleteInterface => {
                messages.begin_with(DELETE_LINK, flag::ACK, &[0; LINK_HEADER]);
                messages.string(LINK_NAME, INTERFACE);
            }
            LinkOp::AddAddress(address) => {
                let flags = flag::ACK | flag::CREATE | EXCLUSIVE;
                self.write_address(messages, NEW_ADDRESS, flags, address, index);
            }
            LinkOp::DeleteAddress(address) => {
                self.write_address(messages, DELETE_ADDRESS, flag::ACK, address, index);
            }
        }
    }

    fn write_address(
        &self,
        messages: &mut Messages,
        kind: u16,
        flags: u16,
        address: &IpAddr,
        index: u32,
    ) {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut header = vec![self.family.number(), octets.len() as u8 * 8, 0, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        messages.begin_with(kind, flags, &header);
        messages.attribute(LOCAL, &octets);
        messages.attribute(ADDRESS, &octets);
        if kind == NEW_ADDRESS && address.is_ipv6() {
            messages.attribute(FLAGS, &WITHOUT_DETECTION.to_ne_bytes());
        }
    }
}

fn is_no_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// On a point-to-point link `IFA_ADDRESS` is the other end's.
fn address_of(attributes: Attributes<'_>) -> Option<IpAddr> {
    let octets = attributes.find(LOCAL).or(attributes.find(ADDRESS))?;
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(octets));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?))
}

/// An IPv6 address that means nothing without its link.
fn is_of_link(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
