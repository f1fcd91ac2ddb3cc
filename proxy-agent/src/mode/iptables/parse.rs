//! What `iptables-save` prints, read back: chains, and rules as far as this mode has such
//! ones. Never fails: a rule that is none of this mode's keeps its text.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::names::{Table, is_ours};
use super::rule::{Action, Chance, Recent, Rule, State};
use crate::routes::{Protocol, Target};

/// What is in the kernel, as far as it is this mode's. Rules are as they are shown: only
/// so can they be named again to be removed. [`normal`] makes them comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rules of this mode's chains.
    pub chains: BTreeMap<(Table, String), Vec<String>>,
    /// Rules of the base chains that lead to this mode's chains.
    pub jumps: BTreeMap<(Table, String), Vec<String>>,
    /// This mode's chains that other chains lead to: they cannot be deleted.
    pub referred: BTreeSet<(Table, String)>,
}

/// Reads the output of `iptables-save`.
///
/// # Errors
/// A table that iptables cannot show, because of what was put into it with `nft`.
pub fn parse_save(text: &str) -> Result<Found> {
    let mut found = Found::default();
    let mut table = None;
    let mut base_chains = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table::parse(name.trim());
            base_chains.clear();
        } else if line.starts_with('#') && line.contains("is incompatible") {
            bail!("{}", line.trim_start_matches(['#', ' ']));
        }
        let Some(table) = table else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            if policy != Some("-") {
                base_chains.insert(name.to_owned());
            }
            if is_ours(name) {
                found.chains.entry((table, name.to_owned())).or_default();
            }
        } else if let Some((chain, rule)) =
            line.strip_prefix("-A ").map(|line| line.split_once(' ').unwrap_or((line, "")))
        {
            take_rule(&mut found, table, chain, rule, &base_chains);
        }
    }
    Ok(found)
}

fn take_rule(
    found: &mut Found,
    table: Table,
    chain: &str,
    rule: &str,
    base_chains: &BTreeSet<String>,
) {
    let key = (table, chain.to_owned());
    if is_ours(chain) {
        found.chains.entry(key).or_default().push(rule.to_owned());
        return;
    }
    let Some(target) = target_of(rule).filter(|target| is_ours(target)) else {
        return;
    };
    if base_chains.contains(chain) {
        found.jumps.entry(key).or_default().push(rule.to_owned());
    } else {
        found.referred.insert((table, target));
    }
}

/// Whether rules that were found are these.
pub fn are(found: &[String], wanted: &[String]) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| normal(f) == *w)
}

/// The rule's text as this mode writes it, or, where it has no such rules, as it is.
pub fn normal(rule: &str) -> String {
    match parse_rule(rule) {
        Some(rule) => rule.render(),
        None => rule.to_owned(),
    }
}

fn target_of(rule: &str) -> Option<String> {
    let words = words(rule)?;
    let at = words.iter().position(|word| word == "-j" || word == "-g")?;
    words.get(at + 1).cloned()
}

/// Reads a rule without its chain; `None`: this mode has no such rules.
pub fn parse_rule(text: &str) -> Option<Rule> {
    let words = words(text)?;
    let mut words = words.iter().map(String::as_str);
    let mut rule = Rule::default();
    let mut is = true;
    let mut recent = ReadRecent::default();
    while let Some(word) = words.next() {
        if word == "!" {
            is = false;
            continue;
        }
        match word {
            "-s" => rule.source = Some((is, network(words.next()?)?)),
            "-d" => rule.destination = Some((is, network(words.next()?)?)),
            "-i" => rule.interface = Some((is, words.next()?.to_owned())),
            "--mark" => {
                rule.marked = Some((is, bits(words.next()?)?));
            }
            "--src-type" => {
                (words.next()? == "LOCAL").then_some(())?;
                rule.from_local = Some(is);
            }
            _ if !is => return None,
            "-j" => rule.action = Some(action(words.next()?, &mut words)?),
            _ => {
                let mut next = || words.next();
                option(word, &mut next, &mut rule, &mut recent)?;
            }
        }
        is = true;
    }
    rule.recent = recent.finish()?;
    Some(rule)
}

#[derive(Default)]
struct ReadRecent {
    list: Option<String>,
    seconds: Option<u32>,
    set: bool,
    check: bool,
}

impl ReadRecent {
    fn finish(self) -> Option<Option<Recent>> {
        Some(match (self.list, self.set, self.check, self.seconds) {
            (None, false, false, None) => None,
            (Some(list), true, false, None) => Some(Recent::Set { list }),
            (Some(list), false, true, Some(seconds)) => Some(Recent::Check { list, seconds }),
            _ => return None,
        })
    }
}

fn option<'a>(
    word: &str,
    next: &mut impl FnMut() -> Option<&'a str>,
    rule: &mut Rule,
    recent: &mut ReadRecent,
) -> Option<()> {
    match word {
        "-p" => rule.protocol = Some(Protocol::parse(next()?)?),
        "--dport" => rule.port = Some(next()?.parse().ok()?),
        "--comment" => rule.comment = Some(next()?.to_owned()),
        "--ctstate" => {
            let states = next()?;
            rule.state = Some(State::ALL.into_iter().find(|s| s.as_str() == states)?);
        }
        "--dst-type" => rule.to_local = (next()? == "LOCAL").then_some(true)?,
        "--set" => recent.set = true,
        "--rcheck" => recent.check = true,
        "--seconds" => recent.seconds = Some(next()?.parse().ok()?),
        "--name" => recent.list = Some(next()?.to_owned()),
        "--reap" | "--rsource" => {}
        // Whole addresses: there is no other mask in this mode's rules.
        "--mask" => whole_mask(next()?)?,
        "--mode" => (next()? == "random").then_some(())?,
        "--probability" => rule.chance = Some(Chance::of(next()?.parse().ok()?)),
        // The matches that these options belong to.
        "-m" => {
            next()?;
        }
        _ => return None,
    }
    Some(())
}

fn action<'a>(target: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Action> {
    let mut option = |name: &str| (words.next() == Some(name)).then_some(()).and(words.next());
    Some(match target {
        "RETURN" => Action::Return,
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "REJECT" => match words.next() {
            None => Action::Reject,
            Some("--reject-with") => match words.next()? {
                "icmp-port-unreachable" | "icmp6-port-unreachable" => Action::Reject,
                _ => return None,
            },
            Some(_) => return None,
        },
        "MARK" => {
            let (value, mask) = option("--set-xmark")?.split_once('/')?;
            match (number(value)?, number(mask)?) {
                (value, 0) => Action::Unmark(value),
                (value, mask) if value == mask => Action::Mark(value),
                _ => return None,
            }
        }
        "MASQUERADE" => (words.next()? == "--random-fully").then_some(Action::Masquerade)?,
        "DNAT" => {
            let to: std::net::SocketAddr = option("--to-destination")?.parse().ok()?;
            Action::SendTo(Target { address: to.ip(), port: to.port() })
        }
        chain if is_ours(chain) => Action::Jump(chain.to_owned()),
        _ => return None,
    })
}

fn network(text: &str) -> Option<ipnet::IpNet> {
    match text.parse() {
        Ok(network) => Some(network),
        Err(_) => Some(text.parse::<std::net::IpAddr>().ok()?.into()),
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A mark and a mask that are the same.
fn bits(text: &str) -> Option<u32> {
    let (value, mask) = text.split_once('/')?;
    number(value).filter(|value| number(mask) == Some(*value))
}

fn whole_mask(text: &str) -> Option<()> {
    match text.parse::<std::net::IpAddr>().ok()? {
        std::net::IpAddr::V4(mask) => (mask.to_bits() == u32::MAX).then_some(()),
        std::net::IpAddr::V6(mask) => (mask.to_bits() == u128::MAX).then_some(()),
    }
}

/// The words of a line; quotes hold words together, a backslash keeps a character.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(characters.next()?),
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}
