//! A packet, what may become of it, and rows that say so. Never knows what a mode does,
//! only which rows a mode cannot do.
//!
//! `SOURCE -> PROTOCOL ADDRESS:PORT => OUTCOMES [; MODE: OUTCOMES] [# why that mode differs]`
//!
//! OUTCOMES is `ADDRESS:PORT [masq] | … | reject | drop | untouched`; PROTOCOL may be
//! several, `tcp,udp`, and the row is then one for each.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proxy_agent::modes::{self, MODES};
use proxy_agent::routes::{Family, Protocol, Target};

/// A first packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// The node's addresses that its own connections to pods come from.
pub const PROXY: [&str; 2] = ["192.168.77.11", "fd77::11"];

impl Packet {
    /// Whether the source is one of these.
    pub fn is_from(&self, addresses: &[&str]) -> bool {
        addresses.contains(&self.source.to_string().as_str())
    }

    pub fn family(&self) -> Family {
        Family::of(&self.destination)
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Endpoint { target: Target, masquerade: bool },
    Reject,
    Drop,
    Untouched,
}

/// One row.
pub struct Row {
    pub text: String,
    pub packet: Packet,
    outcomes: BTreeSet<Outcome>,
    /// What a mode does instead that cannot do it.
    instead: Vec<(&'static str, BTreeSet<Outcome>)>,
}

impl Row {
    /// What may become of the packet in this mode.
    pub fn outcomes(&self, mode: &'static str) -> BTreeSet<Outcome> {
        if let Some((_, outcomes)) = self.instead.iter().find(|(of, _)| *of == mode) {
            return outcomes.clone();
        }
        if mode != "userspace" {
            return self.outcomes.clone();
        }
        let own = |outcome: &Outcome| match outcome {
            Outcome::Endpoint { .. } if self.packet.protocol == Protocol::Sctp => Outcome::Reject,
            // The endpoint sees the proxy's own connection, whoever the client was.
            Outcome::Endpoint { target, .. } => {
                Outcome::Endpoint { target: *target, masquerade: !self.packet.is_from(&PROXY) }
            }
            other => other.clone(),
        };
        self.outcomes.iter().map(own).collect()
    }
}

pub fn rows(table: &str) -> Vec<Row> {
    let lines = table.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(rows_of).collect()
}

fn rows_of(line: &str) -> Vec<Row> {
    let told = line.split('#').next().unwrap_or_default();
    let (packet, outcomes) = told.split_once("=>").expect("=>");
    let words: Vec<&str> = packet.split_whitespace().collect();
    let [source, "->", protocols, to] = words[..] else { panic!("no packet: {packet}") };
    let to: SocketAddr = to.parse().unwrap_or_else(|_| panic!("no address: {to}"));
    let mut outcomes = outcomes.split(';');
    let usual = parse_outcomes(outcomes.next().unwrap_or_default());
    let instead: Vec<_> = outcomes.map(parse_instead).collect();
    assert!(instead.is_empty() || line.contains('#'), "no reason is given: {line}");
    let row = |protocol: &str| Row {
        text: format!("{line} ({protocol})"),
        packet: Packet {
            source: source.parse().expect("source"),
            destination: to.ip(),
            protocol: Protocol::parse(protocol).expect("protocol"),
            port: to.port(),
        },
        outcomes: usual.clone(),
        instead: instead.clone(),
    };
    protocols.split(',').map(row).collect()
}

fn parse_instead(text: &str) -> (&'static str, BTreeSet<Outcome>) {
    let (mode, outcomes) = text.split_once(':').expect("MODE: OUTCOMES");
    let mode = modes::find(MODES, mode.trim()).expect("a mode");
    (mode.name, parse_outcomes(outcomes))
}

fn parse_outcomes(text: &str) -> BTreeSet<Outcome> {
    text.split('|').map(|outcome| parse_outcome(outcome.trim())).collect()
}

fn parse_outcome(text: &str) -> Outcome {
    match text {
        "reject" => Outcome::Reject,
        "drop" => Outcome::Drop,
        "untouched" => Outcome::Untouched,
        endpoint => {
            let masquerade = endpoint.ends_with(" masq");
            let to: SocketAddr = endpoint
                .trim_end_matches(" masq")
                .parse()
                .unwrap_or_else(|_| panic!("no endpoint: {endpoint}"));
            Outcome::Endpoint { target: Target { address: to.ip(), port: to.port() }, masquerade }
        }
    }
}
