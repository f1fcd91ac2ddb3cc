//! Keys and data of elements as bytes, and set types as nft names them.

use std::net::IpAddr;

use crate::netlink::{Attributes, Messages};
use crate::nft::set::{Data, DataType, FieldType, Key, SetName, Verdict};
use crate::routes::{Destination, Family, Protocol, Target};

/// `NFTA_SET_ELEM_*`, `NFTA_DATA_*`, `NFTA_VERDICT_*`
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// Bytes of a field in a key; each field fills whole words.
pub fn field_bytes(field: FieldType, family: Family) -> usize {
    match (field, family) {
        (FieldType::Address, Family::V6) => 16,
        _ => 4,
    }
}

/// Bytes of several fields.
pub fn fields_bytes(fields: &[FieldType], family: Family) -> usize {
    fields.iter().map(|field| field_bytes(*field, family)).sum()
}

/// nft's number for a concatenation of fields: six bits each. Only nft reads it,
/// so that `nft list` shows addresses as addresses.
pub fn fields_type(fields: &[FieldType], family: Family) -> u32 {
    fields.iter().fold(0, |all, field| {
        all << 6
            | match (field, family) {
                (FieldType::Address, Family::V4) => 7,
                (FieldType::Address, Family::V6) => 8,
                (FieldType::Protocol, _) => 12,
                (FieldType::Port, _) => 13,
                (FieldType::Number, _) => 19,
            }
    })
}

fn put_address(bytes: &mut Vec<u8>, address: &IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
    }
}

fn put_port(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
}

fn put_destination(bytes: &mut Vec<u8>, destination: &Destination) {
    if let Destination::Address { address, .. } = destination {
        put_address(bytes, address);
    }
    let (protocol, port) = destination.transport();
    bytes.extend_from_slice(&[protocol.number(), 0, 0, 0]);
    put_port(bytes, port);
}

fn key_bytes(key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match key {
        Key::Destination(destination) => put_destination(&mut bytes, destination),
        Key::Slot(destination, number) => {
            put_destination(&mut bytes, destination);
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        Key::Address(address) => put_address(&mut bytes, address),
        Key::Pair(address) => {
            put_address(&mut bytes, address);
            put_address(&mut bytes, address);
        }
        Key::Value(value) => bytes.extend_from_slice(&value.to_ne_bytes()),
    }
    bytes
}

/// Writes one element into an open list of elements.
pub fn write_element(messages: &mut Messages, key: &Key, data: &Data) {
    let element = messages.nest(ELEMENT);
    let nest = messages.nest(ELEMENT_KEY);
    messages.attribute(DATA_VALUE, &key_bytes(key));
    messages.end(nest);
    if *data != Data::None {
        let nest = messages.nest(ELEMENT_DATA);
        match data {
            Data::Value(value) => messages.attribute(DATA_VALUE, &value.to_ne_bytes()),
            Data::Target(target) => {
                let mut bytes = Vec::with_capacity(20);
                put_address(&mut bytes, &target.address);
                put_port(&mut bytes, target.port);
                messages.attribute(DATA_VALUE, &bytes);
            }
            Data::Verdict(verdict) => write_verdict(messages, verdict),
            Data::None => {}
        }
        messages.end(nest);
    }
    messages.end(element);
}

/// Writes a verdict into an open data attribute.
pub fn write_verdict(messages: &mut Messages, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    let nest = messages.nest(DATA_VERDICT);
    messages.attribute(VERDICT_CODE, &i32::to_be_bytes(code));
    if let Some(chain) = chain {
        messages.string(VERDICT_CHAIN, chain);
    }
    messages.end(nest);
}

/// Reads bytes from the front, word by word.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Option<[u8; 4]> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(*word)
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => IpAddr::from(self.word()?),
            Family::V6 => {
                let (octets, rest) = self.0.split_first_chunk::<16>()?;
                self.0 = rest;
                IpAddr::from(*octets)
            }
        })
    }

    fn port(&mut self) -> Option<u16> {
        let [high, low, ..] = self.word()?;
        Some(u16::from_be_bytes([high, low]))
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.word()?))
    }

    fn destination(&mut self, with_address: bool, family: Family) -> Option<Destination> {
        let address = if with_address { Some(self.address(family)?) } else { None };
        let protocol = Protocol::from_number(self.word()?[0])?;
        let port = self.port()?;
        Some(match address {
            Some(address) => Destination::Address { address, protocol, port },
            None => Destination::NodePort { family, protocol, port },
        })
    }
}

fn read_key(set: SetName, bytes: &[u8], family: Family) -> Option<Key> {
    use FieldType::{Address, Number, Protocol};
    let mut reader = Reader(bytes);
    let with_address = set.key().first() == Some(&Address);
    Some(match set.key() {
        [Number] => Key::Value(reader.number()?),
        [Address] => Key::Address(reader.address(family)?),
        [Address, Address] => Key::Pair(reader.address(family)?),
        [Address, Protocol, ..] | [Protocol, ..] => {
            let destination = reader.destination(with_address, family)?;
            match set.key().last() {
                Some(Number) => Key::Slot(destination, reader.number()?),
                _ => Key::Destination(destination),
            }
        }
        _ => return None,
    })
}

fn read_data(set: SetName, data: Option<Attributes<'_>>, family: Family) -> Option<Data> {
    match set.data() {
        DataType::None => Some(Data::None),
        DataType::Verdict => read_verdict(data?.inside(DATA_VERDICT)?).map(Data::Verdict),
        DataType::Fields(fields) => {
            let mut reader = Reader(data?.find(DATA_VALUE)?);
            match fields {
                [FieldType::Number] => reader.number().map(Data::Value),
                _ => {
                    let address = reader.address(family)?;
                    Some(Data::Target(Target { address, port: reader.port()? }))
                }
            }
        }
    }
}

fn read_verdict(verdict: Attributes<'_>) -> Option<Verdict> {
    let chain = || verdict.text(VERDICT_CHAIN).map(str::to_owned);
    Some(match verdict.number(VERDICT_CODE)? as i32 {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => return None,
    })
}

/// Reads one element of a list; `None` when it is none that this mode makes.
pub fn read_element(set: SetName, element: Attributes<'_>, family: Family) -> Option<(Key, Data)> {
    let key = read_key(set, element.inside(ELEMENT_KEY)?.find(DATA_VALUE)?, family)?;
    Some((key, read_data(set, element.inside(ELEMENT_DATA), family)?))
}
