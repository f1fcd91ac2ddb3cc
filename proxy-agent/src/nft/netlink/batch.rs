//! Steps as transactions that fit the socket. Never splits a step, and never
//! reorders.

use super::element::{fields_bytes, fields_type, write_element};
use super::expression::write_rule;
use crate::netlink::{Messages, NFTABLES, flag, kind};
use crate::nft::LAYOUT_VERSION;
use crate::nft::render::fingerprint;
use crate::nft::rule::{Chain, ChainType, Hook, HookPoint, Rule};
use crate::nft::ruleset::{Op, Step};
use crate::nft::set::{Data, DataType, FieldType, Key, SetName};
use crate::routes::Family;

/// A transaction ends with the step that makes it longer than this. A transaction
/// is one datagram, and the smallest default of a socket's buffer is 208 KiB.
pub const BATCH_BYTES: usize = 128 << 10;
/// A list of elements is one attribute, of 64 KiB at most.
const LIST_BYTES: usize = 56 << 10;
/// Clients remembered for all Services with session affinity; the next ones are
/// served and not remembered until others time out.
pub const MAX_REMEMBERED: u32 = 1 << 18;

/// `NFT_MSG_*`
pub(super) mod message_type {
    pub const NEW_TABLE: u8 = 0;
    pub const GET_TABLE: u8 = 1;
    pub const DEL_TABLE: u8 = 2;
    pub const NEW_CHAIN: u8 = 3;
    pub const GET_CHAIN: u8 = 4;
    pub const DEL_CHAIN: u8 = 5;
    pub const NEW_RULE: u8 = 6;
    pub const GET_RULE: u8 = 7;
    pub const DEL_RULE: u8 = 8;
    pub const NEW_SET: u8 = 9;
    pub const GET_SET: u8 = 10;
    pub const NEW_ELEMENT: u8 = 12;
    pub const GET_ELEMENT: u8 = 13;
    pub const DEL_ELEMENT: u8 = 14;
    pub const GET_GENERATION: u8 = 16;
}

/// `NFT_SET_MAP`, `NFT_SET_TIMEOUT`, `NFT_SET_EVAL`
const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
/// `NFT_DATA_VERDICT`
const DATA_VERDICT: u32 = 0xffff_ff00;

/// One transaction.
pub struct Batch {
    /// Its messages.
    pub bytes: Vec<u8>,
    /// How many.
    pub messages: usize,
}

/// What is written with a table, so that its layout is known later: nft's comment.
pub fn table_user_data() -> Vec<u8> {
    user_data(0, format!("Services, layout {LAYOUT_VERSION}\0").as_bytes())
}

/// What is written with a rule: its fingerprint, under a number nft skips.
pub fn rule_user_data(fingerprint: u64) -> Vec<u8> {
    user_data(RULE_FINGERPRINT, &fingerprint.to_be_bytes())
}

/// The number of the fingerprint among a rule's user data.
pub const RULE_FINGERPRINT: u8 = 0x7e;

/// `NFTNL_UDATA_SET_KEYBYTEORDER`, `…_DATABYTEORDER`: tells nft that our numbers
/// are in host order, so that it shows them the right way round.
fn set_user_data(set: SetName) -> Vec<u8> {
    const NUMBER: &[FieldType] = &[FieldType::Number];
    let order = |is_number: bool| u32::to_ne_bytes(if is_number { 1 } else { 2 });
    let mut bytes = user_data(0, &order(set.key() == NUMBER));
    bytes.extend(user_data(1, &order(set.data() == DataType::Fields(NUMBER))));
    bytes
}

fn user_data(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, payload.len() as u8];
    bytes.extend_from_slice(payload);
    bytes
}

/// The steps as transactions on the family's table of this name.
pub fn encode(family: Family, table: &str, steps: &[Step]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut writer = Writer::new(family, table);
    for step in steps {
        for op in step {
            writer.op(op);
        }
        if writer.messages.len() > BATCH_BYTES {
            batches.push(std::mem::replace(&mut writer, Writer::new(family, table)).finish());
        }
    }
    if writer.messages.count() > 1 {
        batches.push(writer.finish());
    }
    batches
}

/// A list of elements that the next operation may go on with.
struct OpenList {
    set: SetName,
    message: u8,
    nest: crate::netlink::Nest,
    start: usize,
}

struct Writer<'a> {
    messages: Messages,
    family: Family,
    table: &'a str,
    open: Option<OpenList>,
    sets: u32,
}

impl Writer<'_> {
    fn new(family: Family, table: &str) -> Writer<'_> {
        let mut messages = Messages::new();
        messages.begin_raw(kind::BATCH_BEGIN, 0, 0, u16::from(NFTABLES));
        Writer { messages, family, table, open: None, sets: 0 }
    }

    fn finish(mut self) -> Batch {
        self.close_list();
        // The answer comes once all is done, as the whole transaction is one.
        self.messages.acknowledge();
        self.messages.begin_raw(kind::BATCH_END, 0, 0, u16::from(NFTABLES));
        Batch { messages: self.messages.count(), bytes: self.messages.into_bytes() }
    }

    fn begin(&mut self, message: u8, flags: u16) {
        self.close_list();
        self.messages.begin(NFTABLES, message, flags, self.family.number());
    }

    fn close_list(&mut self) {
        if let Some(open) = self.open.take() {
            self.messages.end(open.nest);
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::AddTable => {
                self.begin(message_type::NEW_TABLE, flag::CREATE);
                self.messages.string(1, self.table);
                self.messages.attribute(6, &table_user_data());
            }
            Op::DeleteTable => {
                self.begin(message_type::DEL_TABLE, 0);
                self.messages.string(1, self.table);
            }
            Op::AddSet(set) => self.add_set(*set),
            Op::AddChain(chain) => {
                self.add_chain(chain);
                self.add_rules(chain);
            }
            Op::ReplaceRules(chain) => {
                self.delete_rules(&chain.name);
                self.add_rules(chain);
            }
            Op::DeleteChain(name) => {
                self.delete_rules(name);
                self.begin(message_type::DEL_CHAIN, 0);
                self.messages.string(1, self.table);
                self.messages.string(3, name);
            }
            Op::Add(set, key, data) => self.element(message_type::NEW_ELEMENT, *set, key, data),
            Op::Delete(set, key) => self.element(message_type::DEL_ELEMENT, *set, key, &Data::None),
        }
    }

    /// `NFTA_SET_*`
    fn add_set(&mut self, set: SetName) {
        self.begin(message_type::NEW_SET, flag::CREATE);
        self.sets += 1;
        let family = self.family;
        let mut flags = if set.data() == DataType::None { 0 } else { SET_MAP };
        if set.is_dynamic() {
            flags |= SET_TIMEOUT | SET_EVAL;
        }
        self.messages.string(1, self.table);
        self.messages.string(2, set.as_str());
        self.messages.number(3, flags);
        self.messages.number(4, fields_type(set.key(), family));
        self.messages.number(5, fields_bytes(set.key(), family) as u32);
        match set.data() {
            DataType::None => {}
            DataType::Verdict => {
                self.messages.number(6, DATA_VERDICT);
                // Of a verdict the kernel sets the length itself.
                self.messages.number(7, 0);
            }
            DataType::Fields(fields) => {
                self.messages.number(6, fields_type(fields, family));
                self.messages.number(7, fields_bytes(fields, family) as u32);
            }
        }
        if set.is_dynamic() {
            let nest = self.messages.nest(9);
            self.messages.number(1, MAX_REMEMBERED);
            self.messages.end(nest);
        }
        self.messages.number(10, self.sets);
        self.messages.attribute(13, &set_user_data(set));
    }

    /// `NFTA_CHAIN_*`, `NFTA_HOOK_*`
    fn add_chain(&mut self, chain: &Chain) {
        self.begin(message_type::NEW_CHAIN, flag::CREATE);
        self.messages.string(1, self.table);
        self.messages.string(3, &chain.name);
        if let Some(hook) = chain.hook {
            let nest = self.messages.nest(4);
            self.messages.number(1, hook_number(hook.point));
            self.messages.attribute(2, &hook.priority.to_be_bytes());
            self.messages.end(nest);
            self.messages.number(5, 1);
            self.messages.string(7, type_name(hook.chain_type));
        }
    }

    fn add_rules(&mut self, chain: &Chain) {
        for rule in &chain.rules {
            self.add_rule(&chain.name, rule);
        }
    }

    /// `NFTA_RULE_*`
    fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.begin(message_type::NEW_RULE, flag::CREATE | flag::APPEND);
        self.messages.string(1, self.table);
        self.messages.string(2, chain);
        let nest = self.messages.nest(4);
        write_rule(&mut self.messages, rule, self.family);
        self.messages.end(nest);
        self.messages.attribute(7, &rule_user_data(fingerprint(rule)));
    }

    fn delete_rules(&mut self, chain: &str) {
        self.begin(message_type::DEL_RULE, 0);
        self.messages.string(1, self.table);
        self.messages.string(2, chain);
    }

    /// `NFTA_SET_ELEM_LIST_*`
    fn element(&mut self, message: u8, set: SetName, key: &Key, data: &Data) {
        let goes_on = self.open.as_ref().is_some_and(|open| {
            open.set == set
                && open.message == message
                && self.messages.len() - open.start < LIST_BYTES
        });
        if !goes_on {
            let flags = if message == message_type::NEW_ELEMENT { flag::CREATE } else { 0 };
            self.begin(message, flags);
            self.messages.string(1, self.table);
            self.messages.string(2, set.as_str());
            let start = self.messages.len();
            let nest = self.messages.nest(3);
            self.open = Some(OpenList { set, message, nest, start });
        }
        write_element(&mut self.messages, key, data);
    }
}

/// A hook's number within its family.
pub fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Prerouting => 0,
        HookPoint::Input => 1,
        HookPoint::Forward => 2,
        HookPoint::Output => 3,
        HookPoint::Postrouting => 4,
    }
}

/// The hook from the kernel's numbers and names.
pub fn read_hook(point: u32, priority: i32, chain_type: &str) -> Option<Hook> {
    use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
    let point = [Prerouting, Input, Forward, Output, Postrouting].get(point as usize).copied()?;
    let chain_type =
        [ChainType::Filter, ChainType::Nat].into_iter().find(|t| type_name(*t) == chain_type)?;
    Some(Hook { chain_type, point, priority })
}

fn type_name(chain_type: ChainType) -> &'static str {
    match chain_type {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
    }
}
