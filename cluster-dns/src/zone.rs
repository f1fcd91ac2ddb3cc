//! Reads a query's name as a place in the cluster's zone. Never looks anything up.

use std::net::IpAddr;

use hickory_proto::rr::Name;

/// What a name below the cluster domain can mean. Labels are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The domain itself.
    Apex,
    /// `svc` or `pod`: names that only have names below them.
    Branch,
    /// `dns-version`: says which specification is followed.
    DnsVersion,
    /// `ns.dns`: the name of the zone's server.
    NameServer,
    /// `NAMESPACE.svc`.
    Namespace(String),
    /// `[WHAT.]SERVICE.NAMESPACE.svc`.
    Service {
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
        /// What is asked below the Service's name.
        below: Below,
    },
    /// `A-B-C-D.NAMESPACE.pod`: the address is written in the name.
    Pod(IpAddr),
    /// A name in the zone that can never exist.
    Nothing,
}

/// What comes before a Service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing: the Service's own name.
    Own,
    /// One label: an endpoint.
    Hostname(String),
    /// `_proto`: only has names below it.
    Protocol(String),
    /// `_port._proto`.
    Port(String, String),
}

/// The place a name has in the zone, or `None` outside of it.
pub fn locate(name: &Name, domain: &Name) -> Option<Place> {
    if !domain.zone_of(name) {
        return None;
    }
    let depth = usize::from(name.num_labels() - domain.num_labels());
    let mut labels = Vec::with_capacity(depth);
    for label in name.iter().take(depth) {
        match std::str::from_utf8(label) {
            // A dot inside a label would read as two labels further on.
            Ok(text) if !text.contains('.') => labels.push(text.to_ascii_lowercase()),
            _ => return Some(Place::Nothing),
        }
    }
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    Some(match labels[..] {
        [] => Place::Apex,
        ["svc" | "pod" | "dns"] => Place::Branch,
        ["dns-version"] => Place::DnsVersion,
        ["ns", "dns"] => Place::NameServer,
        [namespace, "svc"] => Place::Namespace(namespace.to_owned()),
        // Which namespaces exist is not known here, so each has the branch.
        [_, "pod"] => Place::Branch,
        [address, _, "pod"] => undashed(address).map_or(Place::Nothing, Place::Pod),
        [.., service, namespace, "svc"] => {
            let below = match labels[..labels.len() - 3] {
                [] => Below::Own,
                [protocol] if protocol.starts_with('_') => Below::Protocol(bare(protocol)),
                [hostname] => Below::Hostname(hostname.to_owned()),
                [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                    Below::Port(bare(port), bare(protocol))
                }
                _ => return Some(Place::Nothing),
            };
            Place::Service { namespace: namespace.to_owned(), name: service.to_owned(), below }
        }
        _ => Place::Nothing,
    })
}

fn bare(label: &str) -> String {
    label.trim_start_matches('_').to_owned()
}

/// `10-244-1-2` → `10.244.1.2`, else the IPv6 address with its colons back.
fn undashed(label: &str) -> Option<IpAddr> {
    let dotted = label.replace('-', ".").parse().ok().map(IpAddr::V4);
    dotted.or_else(|| label.replace('-', ":").parse().ok().map(IpAddr::V6))
}

/// The address a name in `in-addr.arpa.` or `ip6.arpa.` stands for, if it is a
/// whole one.
pub fn reverse_address(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_name_is_an_address_only_when_whole() {
        let read = |text: &str| reverse_address(&Name::from_ascii(text).unwrap());
        assert_eq!(read("1.0.96.10.IN-ADDR.arpa."), Some("10.96.0.1".parse().unwrap()));
        assert_eq!(read("96.10.in-addr.arpa."), None);
        assert_eq!(read("x.in-addr.arpa."), None);
        let nibbles = "1.".to_owned() + &"0.".repeat(27) + "0.0.d.f.ip6.arpa.";
        assert_eq!(read(&nibbles), Some("fd00::1".parse().unwrap()));
    }
}
