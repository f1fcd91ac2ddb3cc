//! A packet, what may become of it, and rows that say so. Never knows a mode.
//!
//! `SOURCE -> PROTOCOL ADDRESS:PORT => ADDRESS:PORT [masq] | … | reject | drop | untouched`

use std::collections::BTreeSet;
use std::net::IpAddr;

use proxy_agent::model::{Protocol, Target};

/// A first packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
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
    pub outcomes: BTreeSet<Outcome>,
}

pub fn rows(table: &str) -> Vec<Row> {
    table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(row)
        .collect()
}

fn row(line: &str) -> Row {
    let (packet, outcomes) = line.split_once("=>").expect("=>");
    let words: Vec<&str> = packet.split_whitespace().collect();
    let [source, "->", protocol, to] = words[..] else {
        panic!("no packet: {packet}")
    };
    let to: std::net::SocketAddr = to.parse().expect("ADDRESS:PORT");
    Row {
        text: line.to_owned(),
        packet: Packet {
            source: source.parse().expect("source"),
            destination: to.ip(),
            protocol: Protocol::parse(protocol).expect("protocol"),
            port: to.port(),
        },
        outcomes: outcomes
            .split('|')
            .map(|outcome| parse_outcome(outcome.trim()))
            .collect(),
    }
}

fn parse_outcome(text: &str) -> Outcome {
    match text {
        "reject" => Outcome::Reject,
        "drop" => Outcome::Drop,
        "untouched" => Outcome::Untouched,
        endpoint => {
            let masquerade = endpoint.ends_with(" masq");
            let to: std::net::SocketAddr = endpoint
                .trim_end_matches(" masq")
                .parse()
                .expect("an endpoint");
            Outcome::Endpoint {
                target: Target {
                    address: to.ip(),
                    port: to.port(),
                },
                masquerade,
            }
        }
    }
}
