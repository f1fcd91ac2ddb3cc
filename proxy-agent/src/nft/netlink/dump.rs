//! The kernel's table read back. Never changes it.

use super::batch::{RULE_FINGERPRINT, message_type, read_hook, table_user_data};
use super::element::{fields_bytes, read_element};
use crate::netlink::Socket;
use crate::netlink::{Attributes, Messages, NFTABLES, Received, flag};
use crate::nft::kernel::KernelError;
use crate::nft::ruleset::{ChainPrint, Ruleset};
use crate::nft::set::{DataType, SetName};
use crate::routes::Family;

/// A ruleset that others change meanwhile is read anew, so often.
const TRIES: usize = 16;

/// Reads the whole table, as it was at one moment.
pub fn ruleset(socket: &mut Socket, name: &str, family: Family) -> Result<Ruleset, KernelError> {
    for _ in 0..TRIES {
        let before = generation(socket)?;
        let ruleset = read(socket, name, family)?;
        if generation(socket)? == before {
            return Ok(ruleset);
        }
    }
    Err(KernelError::Malformed("the ruleset changed while it was read, many times"))
}

fn read(socket: &mut Socket, name: &str, family: Family) -> Result<Ruleset, KernelError> {
    let mut ruleset = Ruleset::default();
    let Some(user_data) = table(socket, name, family)? else {
        return Ok(ruleset);
    };
    ruleset.table = true;
    if user_data != table_user_data() {
        // Another layout: a table without sets, which the caller replaces.
        return Ok(ruleset);
    }
    ruleset.sets = sets(socket, name, family)?;
    chains(socket, name, family, &mut ruleset)?;
    rules(socket, name, family, &mut ruleset)?;
    for set in ruleset.sets.clone().into_iter().filter(|set| !set.is_dynamic()) {
        elements(socket, name, family, set, &mut ruleset)?;
    }
    Ok(ruleset)
}

/// The ruleset's generation id (`NFTA_GEN_ID`).
pub fn generation(socket: &mut Socket) -> Result<u32, KernelError> {
    let id: Option<u32> = socket.dump(
        |messages| messages.begin(NFTABLES, message_type::GET_GENERATION, flag::ACK, 0),
        |id: &mut Option<u32>, message| {
            *id = id.or(message.attributes().number(1));
            Ok(())
        },
    )?;
    id.ok_or(KernelError::Malformed("no generation id"))
}

fn request(messages: &mut Messages, message: u8, family: Family) {
    messages.begin(NFTABLES, message, flag::DUMP, family.number());
}

/// The table's user data; `None` when there is no such table.
fn table(socket: &mut Socket, name: &str, family: Family) -> Result<Option<Vec<u8>>, KernelError> {
    socket.dump(
        |messages| request(messages, message_type::GET_TABLE, family),
        |found: &mut Option<Vec<u8>>, message| {
            if is_ours(message, name, family) {
                *found = Some(message.attributes().find(6).unwrap_or_default().to_vec());
            }
            Ok(())
        },
    )
}

/// Whether the message's first attribute, everywhere the table's name, is ours.
pub fn is_ours(message: &Received<'_>, name: &str, family: Family) -> bool {
    message.family() == family.number() && message.attributes().text(1) == Some(name)
}

/// The sets that are ours and of the type they should have (`NFTA_SET_*`).
fn sets(
    socket: &mut Socket,
    name: &str,
    family: Family,
) -> Result<std::collections::BTreeSet<SetName>, KernelError> {
    socket.dump(
        |messages| {
            request(messages, message_type::GET_SET, family);
            messages.string(1, name);
        },
        |sets: &mut std::collections::BTreeSet<SetName>, message| {
            let attributes = message.attributes();
            if let Some(set) = attributes.text(2).and_then(SetName::parse)
                && is_ours(message, name, family)
                && attributes.number(5) == Some(fields_bytes(set.key(), family) as u32)
                && data_fits(set, attributes, family)
            {
                sets.insert(set);
            }
            Ok(())
        },
    )
}

fn data_fits(set: SetName, attributes: Attributes<'_>, family: Family) -> bool {
    match set.data() {
        DataType::None => attributes.number(6).is_none(),
        DataType::Verdict => attributes.number(6).is_some(),
        DataType::Fields(fields) => {
            attributes.number(7) == Some(fields_bytes(fields, family) as u32)
        }
    }
}

/// `NFTA_CHAIN_*`, `NFTA_HOOK_*`
fn chains(
    socket: &mut Socket,
    name: &str,
    family: Family,
    ruleset: &mut Ruleset,
) -> Result<(), KernelError> {
    ruleset.chains = socket.dump(
        |messages| request(messages, message_type::GET_CHAIN, family),
        |chains: &mut std::collections::BTreeMap<String, ChainPrint>, message| {
            let attributes = message.attributes();
            if let Some(chain) = attributes.text(3).filter(|_| is_ours(message, name, family)) {
                let hook = attributes.inside(4).and_then(|hook| {
                    read_hook(hook.number(1)?, hook.number(2)? as i32, attributes.text(7)?)
                });
                chains.insert(chain.to_owned(), ChainPrint { hook, rules: Vec::new() });
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// `NFTA_RULE_*`; a rule that is not ours has a fingerprint that no rule has.
fn rules(
    socket: &mut Socket,
    name: &str,
    family: Family,
    ruleset: &mut Ruleset,
) -> Result<(), KernelError> {
    let rules: Vec<(String, u64)> = socket.dump(
        |messages| {
            request(messages, message_type::GET_RULE, family);
            messages.string(1, name);
        },
        |rules: &mut Vec<(String, u64)>, message| {
            let attributes = message.attributes();
            if let Some(chain) = attributes.text(2).filter(|_| is_ours(message, name, family)) {
                let print = attributes.find(7).and_then(read_fingerprint).unwrap_or(0);
                rules.push((chain.to_owned(), print));
            }
            Ok(())
        },
    )?;
    for (chain, print) in rules {
        if let Some(chain) = ruleset.chains.get_mut(&chain) {
            chain.rules.push(print);
        }
    }
    Ok(())
}

fn read_fingerprint(user_data: &[u8]) -> Option<u64> {
    match user_data {
        [RULE_FINGERPRINT, 8, bytes @ ..] => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// `NFTA_SET_ELEM_LIST_*`
fn elements(
    socket: &mut Socket,
    name: &str,
    family: Family,
    set: SetName,
    ruleset: &mut Ruleset,
) -> Result<(), KernelError> {
    let elements: Vec<_> = socket.dump(
        |messages| {
            request(messages, message_type::GET_ELEMENT, family);
            messages.string(1, name);
            messages.string(2, set.as_str());
        },
        |elements: &mut Vec<_>, message| {
            let list = message.attributes().inside(3).unwrap_or(Attributes(&[]));
            for (_, element) in list {
                elements.extend(read_element(set, Attributes(element), family));
            }
            Ok(())
        },
    )?;
    for (key, data) in elements {
        ruleset.insert(set, key, data);
    }
    Ok(())
}
