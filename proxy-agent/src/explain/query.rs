//! The question, from the query of a URL. Never guesses: what cannot be read is an
//! error that names the field.

use std::net::{IpAddr, SocketAddr};

use crate::routes::{Family, Protocol};

/// A first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it is sent to.
    pub destination: IpAddr,
    /// The port that it is sent to.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The interface that it comes in by, where the asker knows it.
    pub interface: Option<String>,
}

impl Packet {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(&self.destination)
    }
}

impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = SocketAddr::new(self.destination, self.port);
        write!(f, "{} {} -> {to}", self.protocol, self.source)?;
        match &self.interface {
            Some(interface) => write!(f, " by {interface}"),
            None => Ok(()),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {says}")]
pub struct BadQuery {
    /// The field that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub says: String,
}

fn bad<T>(field: &str, says: impl Into<String>) -> Result<T, BadQuery> {
    Err(BadQuery { field: field.to_owned(), says: says.into() })
}

#[derive(Default)]
struct Fields {
    source: Option<String>,
    destination: Option<String>,
    protocol: Option<String>,
    interface: Option<String>,
}

/// Reads `source=A&destination=B:PORT[&protocol=tcp][&interface=NAME]`, percent-encoded
/// or not. Without `protocol` it is TCP, as in the API.
///
/// # Errors
/// A field is missing, unknown, given twice or not what it should be.
pub fn parse(query: &str) -> Result<Packet, BadQuery> {
    let mut fields = Fields::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let field = match &*name {
            "source" => &mut fields.source,
            "destination" => &mut fields.destination,
            "protocol" => &mut fields.protocol,
            "interface" => &mut fields.interface,
            _ => return bad(&name, "is none of source, destination, protocol, interface"),
        };
        if field.replace(value.into_owned()).is_some() {
            return bad(&name, "is given twice");
        }
    }
    let Some(source) = fields.source else {
        return bad("source", "is missing: the address that the packet comes from");
    };
    let Ok(source) = source.parse::<IpAddr>() else {
        return bad("source", format!("`{source}` is no IP address"));
    };
    let Some(destination) = fields.destination else {
        return bad("destination", "is missing: ADDRESS:PORT");
    };
    let Ok(to) = destination.parse::<SocketAddr>() else {
        let says = format!("`{destination}` is not ADDRESS:PORT, or [ADDRESS]:PORT with IPv6");
        return bad("destination", says);
    };
    let protocol = fields.protocol.as_deref().unwrap_or("tcp");
    let Some(protocol) = Protocol::parse(protocol) else {
        return bad("protocol", format!("`{protocol}` is none of tcp, udp, sctp"));
    };
    if to.port() == 0 {
        return bad("destination", "port 0 is no port");
    }
    if Family::of(&source) != Family::of(&to.ip()) {
        return bad("source", "is of another IP family than the destination");
    }
    Ok(Packet {
        source,
        destination: to.ip(),
        port: to.port(),
        protocol,
        interface: fields.interface,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let found = match parse(query) {
            Ok(packet) => packet.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn a_question_is_a_packet() {
        check(
            "source=10.244.1.11&destination=10.96.0.10:80&protocol=udp",
            "udp 10.244.1.11 -> 10.96.0.10:80",
        );
        check(
            "destination=%5Bfd96%3A%3A10%5D%3A80&source=fd44:1::11",
            "tcp fd44:1::11 -> [fd96::10]:80",
        );
        check(
            "source=10.244.1.11&destination=10.96.0.10:80&protocol=SCTP&interface=veth0",
            "sctp 10.244.1.11 -> 10.96.0.10:80 by veth0",
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        check("", "source: is missing: the address that the packet comes from");
        check("source=x&destination=10.96.0.10:80", "source: `x` is no IP address");
        check("source=10.244.1.11", "destination: is missing: ADDRESS:PORT");
        check(
            "source=10.244.1.11&destination=10.96.0.10",
            "destination: `10.96.0.10` is not ADDRESS:PORT, or [ADDRESS]:PORT with IPv6",
        );
        check("source=10.244.1.11&destination=10.96.0.10:0", "destination: port 0 is no port");
        check(
            "source=10.244.1.11&destination=10.96.0.10:80&protocol=icmp",
            "protocol: `icmp` is none of tcp, udp, sctp",
        );
        check(
            "source=fd44::1&destination=10.96.0.10:80",
            "source: is of another IP family than the destination",
        );
        check("source=1.1.1.1&source=1.1.1.2", "source: is given twice");
        check("sauce=1.1.1.1", "sauce: is none of source, destination, protocol, interface");
    }
}
