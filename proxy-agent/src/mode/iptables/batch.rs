//! From steps to the input of `iptables-restore`: sections, each one transaction. Pure;
//! never changes the order of steps.
//!
//! With iptables' nft backend a transaction must fit the buffer of a netlink socket,
//! which without privileges outside the own user namespace is 208 KiB. Steps share a
//! section as long as that holds. A step that alone is larger is parted so that a packet
//! between two parts still finds a whole way (`part`).

use std::fmt::Write;

use super::diff::{Op, Step};
use super::names::{MARK_MASQ, Table, rank};

/// How much may be in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of netlink messages at most, as `cost` counts them.
    pub bytes: usize,
}

impl Limit {
    /// For the nft backend: less than the kernel's default for a socket's buffer, 212,992.
    /// Small transactions are the faster ones there, too.
    pub const NFT: Limit = Limit { bytes: 190_000 };
    /// For the legacy backend, which writes the whole table at each transaction: so many
    /// that few are needed, and yet a bound for what the program keeps in memory.
    pub const LEGACY: Limit = Limit { bytes: 50_000_000 };
}

/// What one run of the program is given at most; more goes to another run.
pub const MAX_INPUT_BYTES: usize = 16 << 20;

/// Upper bounds, measured with iptables 1.8.9: a rule of this mode's took 942 bytes at
/// most, with IPv4.
const RULE_BYTES: usize = 1_000;
const CHAIN_BYTES: usize = 100;

fn cost(op: &Op) -> usize {
    match op {
        Op::Write { rules, .. } => 2 * CHAIN_BYTES + rules.len() * RULE_BYTES,
        Op::Insert { .. } | Op::Append { .. } => RULE_BYTES,
        Op::Remove { .. } => CHAIN_BYTES,
        Op::Delete { .. } => 2 * CHAIN_BYTES,
    }
}

fn cost_of(step: &[Op]) -> usize {
    step.iter().map(cost).sum()
}

/// Transactions: each of one table, within the limit, in order.
pub fn sections(steps: Vec<Step>, limit: Limit) -> Vec<Step> {
    let mut sections: Vec<Step> = Vec::new();
    let mut size = 0;
    let parts = steps.into_iter().flat_map(|step| part(step, limit));
    for step in parts {
        let Some(table) = step.first().map(Op::table) else {
            continue;
        };
        let cost = cost_of(&step);
        match sections.last_mut() {
            Some(section) if section[0].table() == table && size + cost <= limit.bytes => {
                section.extend(step);
                size += cost;
            }
            _ => {
                sections.push(step);
                size = cost;
            }
        }
    }
    sections
}

/// A step as one, or, where it is too large, as several that are each right for
/// packets: endpoints' chains, to which nothing leads yet; then the chains that lead to
/// them; then the ways into these, each before what it replaces goes.
fn part(step: Step, limit: Limit) -> Vec<Step> {
    if cost_of(&step) <= limit.bytes {
        return vec![step];
    }
    step.into_iter()
        .flat_map(|op| match op {
            Op::Write { table, chain, rules } => part_chain(table, chain, rules, limit),
            op => vec![vec![op]],
        })
        .collect()
}

/// A chain that draws an endpoint is right without its first endpoints: the others share
/// what they leave. So it is filled from its end. Rules that only mark a packet come first
/// in it, and are there from the beginning.
fn part_chain(table: Table, chain: String, rules: Vec<String>, limit: Limit) -> Vec<Step> {
    let room = (limit.bytes.saturating_sub(2 * CHAIN_BYTES) / RULE_BYTES).max(1);
    let marks = format!("-j {MARK_MASQ}");
    let head = rules.iter().take_while(|rule| rule.ends_with(&marks)).count();
    if rules.len() <= room || rank(&chain).is_none() || head >= room {
        let write = Op::Write { table, chain, rules };
        return vec![vec![write]];
    }
    let (head, mut rest) = (rules[..head].to_vec(), rules[head..].to_vec());
    let position = head.len() + 1;
    let tail = rest.split_off(rest.len() - (room - head.len()));
    let first =
        Op::Write { table, chain: chain.clone(), rules: head.into_iter().chain(tail).collect() };
    let mut steps = vec![vec![first]];
    while !rest.is_empty() {
        let part = rest.split_off(rest.len().saturating_sub(room));
        let insert = |rule| Op::Insert { table, chain: chain.clone(), position, rule };
        steps.push(part.into_iter().rev().map(insert).collect());
    }
    steps
}

/// The texts for runs of `iptables-restore --noflush`, in order.
pub fn inputs(sections: &[Step]) -> Vec<String> {
    let mut inputs: Vec<String> = Vec::new();
    for section in sections {
        let text = render(section);
        match inputs.last_mut() {
            Some(input) if input.len() + text.len() <= MAX_INPUT_BYTES => *input += &text,
            _ => inputs.push(text),
        }
    }
    inputs
}

fn render(section: &[Op]) -> String {
    let Some(table) = section.first().map(Op::table) else {
        return String::new();
    };
    let mut text = format!("*{}\n", table.as_str());
    // Such a line makes the chain or empties it, whatever comes after.
    for op in section {
        if let Op::Write { chain, .. } | Op::Delete { chain, .. } = op {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
    }
    for op in section {
        let _ = match op {
            Op::Write { chain, rules, .. } => {
                for rule in rules {
                    let _ = writeln!(text, "-A {chain} {rule}");
                }
                Ok(())
            }
            Op::Insert { chain, position: 1, rule, .. } => writeln!(text, "-I {chain} {rule}"),
            Op::Insert { chain, position, rule, .. } => {
                writeln!(text, "-I {chain} {position} {rule}")
            }
            Op::Append { chain, rule, .. } => writeln!(text, "-A {chain} {rule}"),
            Op::Remove { chain, rule, .. } => writeln!(text, "-D {chain} {rule}"),
            Op::Delete { chain, .. } => writeln!(text, "-X {chain}"),
        };
    }
    text + "COMMIT\n"
}
