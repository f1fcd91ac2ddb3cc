//! Rules as the kernel's expressions over registers.
//!
//! Keys are put together in the 4-byte registers from `FIRST` on, data that goes
//! with a key in `DATA` ones behind it.

use ipnet::IpNet;

use super::element::write_verdict;
use crate::netlink::Messages;
use crate::nft::rule::{End, Field, Rule, Statement};
use crate::nft::set::{SetName, Verdict};
use crate::routes::Family;

/// `NFT_REG32_00`
const FIRST: u32 = 8;
/// `NFT_REG32_12`: behind the longest key, client and IPv6 destination.
const DATA: u32 = 20;
/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;

/// `NFTA_EXPR_*`, `NFTA_LIST_ELEM`, `NFTA_DATA_VALUE`
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

/// `NFT_META_*`
const META_PRIORITY: u32 = 2;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_L4PROTO: u32 = 16;
/// `NFT_CT_STATE`, `NFT_CT_STATUS` and the bits looked for.
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const STATE_ESTABLISHED: u32 = 2;
const STATE_RELATED: u32 = 4;
const STATE_NEW: u32 = 8;
const STATUS_DNAT: u32 = 0x20;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_SADDR`, `NFTA_FIB_F_DADDR`, `RTN_LOCAL`
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const ROUTE_LOCAL: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
const FULLY_RANDOM: u32 = 0x10;
/// `NFT_DYNSET_OP_*`
const DYNSET_UPDATE: u32 = 1;
const DYNSET_DELETE: u32 = 2;
/// `NFT_CMP_*`
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Writes a rule's expressions into an open list.
pub fn write_rule(messages: &mut Messages, rule: &Rule, family: Family) {
    let mut writer = Writer { messages, family };
    for statement in &rule.statements {
        writer.statement(statement);
    }
}

struct Writer<'a> {
    messages: &'a mut Messages,
    family: Family,
}

impl Writer<'_> {
    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Messages)) {
        let element = self.messages.nest(LIST_ELEMENT);
        self.messages.string(EXPRESSION_NAME, name);
        let data = self.messages.nest(EXPRESSION_DATA);
        write(self.messages);
        self.messages.end(data);
        self.messages.end(element);
    }

    /// An expression whose attributes are all numbers.
    fn numbers(&mut self, name: &str, numbers: &[(u16, u32)]) {
        self.expression(name, |messages| {
            for (kind, number) in numbers {
                messages.number(*kind, *number);
            }
        });
    }

    fn meta(&mut self, register: u32, key: u32) {
        self.numbers("meta", &[(1, register), (2, key)]);
    }

    fn set_meta(&mut self, key: u32, register: u32) {
        self.numbers("meta", &[(2, key), (3, register)]);
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) {
        self.numbers("payload", &[(1, register), (2, base), (3, offset), (4, length)]);
    }

    fn compare(&mut self, register: u32, operator: u32, data: &[u8]) {
        self.expression("cmp", |messages| {
            messages.number(1, register);
            messages.number(2, operator);
            let nest = messages.nest(3);
            messages.attribute(DATA_VALUE, data);
            messages.end(nest);
        });
    }

    /// `register = register & mask ^ xor`
    fn bitwise(&mut self, register: u32, mask: &[u8], xor: &[u8]) {
        self.expression("bitwise", |messages| {
            messages.number(1, register);
            messages.number(2, register);
            messages.number(3, mask.len() as u32);
            for (kind, data) in [(4, mask), (5, xor)] {
                let nest = messages.nest(kind);
                messages.attribute(DATA_VALUE, data);
                messages.end(nest);
            }
        });
    }

    fn immediate(&mut self, register: u32, data: &[u8]) {
        self.expression("immediate", |messages| {
            messages.number(1, register);
            let nest = messages.nest(2);
            messages.attribute(DATA_VALUE, data);
            messages.end(nest);
        });
    }

    fn verdict(&mut self, verdict: &Verdict) {
        self.expression("immediate", |messages| {
            messages.number(1, VERDICT);
            let nest = messages.nest(2);
            write_verdict(messages, verdict);
            messages.end(nest);
        });
    }

    fn lookup(&mut self, set: SetName, from: u32, to: Option<u32>) {
        self.expression("lookup", |messages| {
            messages.string(1, set.as_str());
            messages.number(2, from);
            if let Some(to) = to {
                messages.number(3, to);
            }
        });
    }

    fn address(&mut self, register: u32, end: End) {
        let (offset, length) = match (self.family, end) {
            (Family::V4, End::Source) => (12, 4),
            (Family::V4, End::Destination) => (16, 4),
            (Family::V6, End::Source) => (8, 16),
            (Family::V6, End::Destination) => (24, 16),
        };
        self.payload(register, 1, offset, length);
    }

    /// Puts the fields into the registers from `FIRST` on.
    fn key(&mut self, fields: &[Field]) {
        let mut register = FIRST;
        for field in fields {
            let mut words = 1;
            match field {
                Field::Source | Field::Destination => {
                    let end = if *field == Field::Source { End::Source } else { End::Destination };
                    self.address(register, end);
                    words = if self.family == Family::V6 { 4 } else { 1 };
                }
                Field::Protocol => self.meta(register, META_L4PROTO),
                Field::Port => self.payload(register, 2, 2, 2),
                Field::Scratch => self.meta(register, META_PRIORITY),
            }
            register += words;
        }
    }

    /// Any of the bits is set, or none.
    fn bit(&mut self, bits: u32, any: bool) {
        self.bitwise(FIRST, &bits.to_ne_bytes(), &[0; 4]);
        self.compare(FIRST, operator(!any), &[0; 4]);
    }

    fn change_mark(&mut self, mask: u32, xor: u32) {
        self.meta(FIRST, META_MARK);
        self.bitwise(FIRST, &mask.to_ne_bytes(), &xor.to_ne_bytes());
        self.set_meta(META_MARK, FIRST);
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::CtNew => {
                self.numbers("ct", &[(1, FIRST), (2, CT_STATE)]);
                self.bit(STATE_NEW, true);
            }
            Statement::CtUnknown => {
                self.numbers("ct", &[(1, FIRST), (2, CT_STATE)]);
                self.bit(STATE_ESTABLISHED | STATE_RELATED, false);
            }
            Statement::CtDnat(is) => {
                self.numbers("ct", &[(1, FIRST), (2, CT_STATUS)]);
                self.bit(STATUS_DNAT, *is);
            }
            Statement::InNetwork(end, network, is) => self.network(*end, network, *is),
            Statement::NotFromInterface { name, is_prefix } => {
                self.meta(FIRST, META_IIFNAME);
                // A whole name is compared with the zero that ends it.
                let end: &[u8] = if *is_prefix { &[] } else { &[0] };
                self.compare(FIRST, NOT_EQUAL, &[name.as_bytes(), end].concat());
            }
            Statement::IsLocal(end, is) => {
                let flag = if *end == End::Source { FIB_SOURCE } else { FIB_DESTINATION };
                self.numbers("fib", &[(1, FIRST), (2, FIB_ADDRESS_TYPE), (3, flag)]);
                self.compare(FIRST, operator(*is), &ROUTE_LOCAL.to_ne_bytes());
            }
            Statement::IsProtocol(protocol) => {
                self.meta(FIRST, META_L4PROTO);
                self.compare(FIRST, EQUAL, &[protocol.number()]);
            }
            Statement::HasMark(bits) => {
                self.meta(FIRST, META_MARK);
                self.bit(*bits, true);
            }
            Statement::MarkIs { mask, value } => {
                self.meta(FIRST, META_MARK);
                self.bitwise(FIRST, &mask.to_ne_bytes(), &[0; 4]);
                self.compare(FIRST, EQUAL, &value.to_ne_bytes());
            }
            Statement::SetMark(bits) => self.change_mark(!bits, *bits),
            Statement::ClearMark(bits) => self.change_mark(!bits, 0),
            Statement::SetScratch(value) => {
                self.immediate(FIRST, &value.to_ne_bytes());
                self.set_meta(META_PRIORITY, FIRST);
            }
            Statement::DrawScratch { modulus, offset } => {
                self.numbers("numgen", &[(1, FIRST), (2, *modulus), (3, 1), (4, *offset)]);
                self.set_meta(META_PRIORITY, FIRST);
            }
            Statement::Verdict(verdict) => self.verdict(verdict),
            other => self.map_statement(other),
        }
    }

    /// The statements that use a set, and those that end a packet's way.
    fn map_statement(&mut self, statement: &Statement) {
        match statement {
            Statement::InSet(fields, set) => {
                self.key(fields);
                self.lookup(*set, FIRST, None);
            }
            Statement::LoadScratch(fields, map) => {
                self.key(fields);
                self.lookup(*map, FIRST, Some(FIRST));
                self.set_meta(META_PRIORITY, FIRST);
            }
            Statement::LoadMark(fields, map) => {
                self.key(fields);
                self.lookup(*map, FIRST, Some(FIRST));
                self.set_meta(META_MARK, FIRST);
            }
            Statement::ScratchVerdict(map) => {
                self.meta(FIRST, META_PRIORITY);
                self.lookup(*map, FIRST, Some(VERDICT));
            }
            Statement::Remember { key, set, timeout_seconds } => {
                self.key(key);
                self.meta(DATA, META_PRIORITY);
                let timeout_ms = u64::from(*timeout_seconds) * 1_000;
                self.dynset(*set, DYNSET_UPDATE, Some(timeout_ms));
            }
            Statement::Forget(key, set) => {
                self.key(key);
                // The kernel wants data for a map, and initialised registers.
                self.meta(DATA, META_PRIORITY);
                self.dynset(*set, DYNSET_DELETE, None);
            }
            Statement::Dnat(fields, map) => {
                self.key(fields);
                self.lookup(*map, FIRST, Some(FIRST));
                let (protocol, words) = match self.family {
                    Family::V4 => (2, 1),
                    Family::V6 => (10, 4),
                };
                self.numbers("nat", &[(1, 1), (2, protocol), (3, FIRST), (5, FIRST + words)]);
            }
            Statement::Masquerade => self.numbers("masq", &[(1, FULLY_RANDOM)]),
            Statement::RejectTcp => self.reject(1, 0),
            Statement::RejectIcmp => self.reject(0, if self.family == Family::V4 { 3 } else { 4 }),
            _ => {}
        }
    }

    /// `NFTA_DYNSET_*`; what is remembered is in `DATA`.
    fn dynset(&mut self, set: SetName, operation: u32, timeout_ms: Option<u64>) {
        self.expression("dynset", |messages| {
            messages.string(1, set.as_str());
            messages.number(3, operation);
            messages.number(4, FIRST);
            messages.number(5, DATA);
            if let Some(timeout_ms) = timeout_ms {
                messages.attribute(6, &timeout_ms.to_be_bytes());
            }
        });
    }

    fn reject(&mut self, kind: u32, code: u8) {
        self.expression("reject", |messages| {
            messages.number(1, kind);
            messages.attribute(2, &[code]);
        });
    }

    fn network(&mut self, end: End, network: &IpNet, is: bool) {
        self.address(FIRST, end);
        let (address, mask): (Vec<u8>, Vec<u8>) = match network {
            IpNet::V4(network) => {
                (network.network().octets().into(), network.netmask().octets().into())
            }
            IpNet::V6(network) => {
                (network.network().octets().into(), network.netmask().octets().into())
            }
        };
        self.bitwise(FIRST, &mask, &vec![0; mask.len()]);
        self.compare(FIRST, operator(is), &address);
    }
}

fn operator(is: bool) -> u32 {
    if is { EQUAL } else { NOT_EQUAL }
}
