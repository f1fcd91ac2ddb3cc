//! The plan as text in nft's own notation, for people, snapshots and fingerprints.

use std::fmt::Write;

use super::rule::{Chain, ChainType, End, Field, HookPoint, Rule, Statement};
use super::set::{Data, Key, SetName, Verdict};
use crate::routes::{Destination, Family};

/// A number that stays the same as long as the rule does (FNV-1a of its text);
/// kept with the rule in the kernel.
pub fn fingerprint(rule: &Rule) -> u64 {
    render_rule(rule, Family::V4).bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A chain with its rules, one a line.
pub fn render_chain(chain: &Chain, family: Family) -> String {
    let mut text = format!("chain {} {{\n", chain.name);
    if let Some(hook) = chain.hook {
        let chain_type = match hook.chain_type {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        };
        let point = match hook.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        let _ = writeln!(text, "  type {chain_type} hook {point} priority {};", hook.priority);
    }
    for rule in &chain.rules {
        let _ = writeln!(text, "  {}", render_rule(rule, family));
    }
    text + "}\n"
}

/// One rule.
pub fn render_rule(rule: &Rule, family: Family) -> String {
    let statements: Vec<String> =
        rule.statements.iter().map(|statement| render_statement(statement, family)).collect();
    statements.join(" ")
}

fn render_statement(statement: &Statement, family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let end = |end: &End| match end {
        End::Source => "saddr",
        End::Destination => "daddr",
    };
    let not = |positive: &bool| if *positive { "" } else { "!= " };
    let key = |fields: &[Field]| render_fields(fields, ip);
    match statement {
        Statement::CtNew => "ct state new".to_owned(),
        Statement::CtUnknown => "ct state & (established | related) == 0".to_owned(),
        Statement::CtDnat(true) => "ct status dnat".to_owned(),
        Statement::CtDnat(false) => "ct status & dnat == 0".to_owned(),
        Statement::InNetwork(of, network, is) => format!("{ip} {} {}{network}", end(of), not(is)),
        Statement::NotFromInterface { name, is_prefix } => {
            format!("iifname != \"{name}{}\"", if *is_prefix { "*" } else { "" })
        }
        Statement::IsLocal(of, is) => format!("fib {} type {}local", end(of), not(is)),
        Statement::IsProtocol(protocol) => format!("meta l4proto {protocol}"),
        Statement::InSet(fields, set) => format!("{} @{}", key(fields), set.as_str()),
        Statement::HasMark(bits) => format!("meta mark & {bits:#010x} != 0"),
        Statement::SetMark(bits) => format!("meta mark set meta mark | {bits:#010x}"),
        Statement::ClearMark(bits) => format!("meta mark set meta mark & {:#010x}", !bits),
        Statement::MarkIs { mask, value } => format!("meta mark & {mask:#010x} == {value:#010x}"),
        Statement::LoadMark(fields, map) => {
            format!("meta mark set {} map @{}", key(fields), map.as_str())
        }
        Statement::SetScratch(value) => format!("meta priority set {value:#x}"),
        Statement::DrawScratch { modulus, offset: 0 } => {
            format!("meta priority set numgen random mod {modulus}")
        }
        Statement::DrawScratch { modulus, offset } => {
            format!("meta priority set numgen random mod {modulus} offset {offset}")
        }
        Statement::LoadScratch(fields, map) => {
            format!("meta priority set {} map @{}", key(fields), map.as_str())
        }
        Statement::ScratchVerdict(map) => format!("meta priority vmap @{}", map.as_str()),
        Statement::Remember { key: fields, set, timeout_seconds } => format!(
            "update @{} {{ {} timeout {timeout_seconds}s : meta priority }}",
            set.as_str(),
            key(fields)
        ),
        Statement::Forget(fields, set) => {
            // nft wants data for a map.
            format!("delete @{} {{ {} : meta priority }}", set.as_str(), key(fields))
        }
        Statement::Dnat(fields, map) => {
            format!("dnat {ip} to {} map @{}", key(fields), map.as_str())
        }
        Statement::Masquerade => "masquerade fully-random".to_owned(),
        Statement::RejectTcp => "reject with tcp reset".to_owned(),
        Statement::RejectIcmp => "reject".to_owned(),
        Statement::Verdict(verdict) => render_verdict(verdict),
    }
}

fn render_fields(fields: &[Field], ip: &str) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| match field {
            Field::Source => format!("{ip} saddr"),
            Field::Destination => format!("{ip} daddr"),
            Field::Protocol => "meta l4proto".to_owned(),
            Field::Port => "th dport".to_owned(),
            Field::Scratch => "meta priority".to_owned(),
        })
        .collect();
    fields.join(" . ")
}

fn render_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

/// One element as `key : data`.
pub fn render_element(key: &Key, data: &Data) -> String {
    let destination = |destination: &Destination| match destination {
        Destination::Address { address, protocol, port } => {
            format!("{address} . {protocol} . {port}")
        }
        Destination::NodePort { protocol, port, .. } => format!("{protocol} . {port}"),
    };
    let key = match key {
        Key::Destination(to) => destination(to),
        Key::Slot(to, number) => format!("{} . {number:#x}", destination(to)),
        Key::Address(address) => address.to_string(),
        Key::Pair(address) => format!("{address} . {address}"),
        Key::Value(value) => format!("{value:#010x}"),
    };
    match data {
        Data::None => key,
        Data::Value(value) => format!("{key} : {value:#010x}"),
        Data::Target(target) => format!("{key} : {} . {}", target.address, target.port),
        Data::Verdict(verdict) => format!("{key} : {}", render_verdict(verdict)),
    }
}

/// One element with its set: `map SET { KEY : DATA }`.
pub fn render_line(set: SetName, key: &Key, data: &Data) -> String {
    format!("map {} {{ {} }}", set.as_str(), render_element(key, data))
}
