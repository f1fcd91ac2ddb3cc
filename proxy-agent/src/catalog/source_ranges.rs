//! `spec.loadBalancerSourceRanges` as networks. Never lets in more because something cannot
//! be read, and never says so itself.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;

/// Who may use a load balancer's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRanges {
    /// The networks, sorted; `None`: everybody.
    pub allowed: Option<Vec<IpNet>>,
    /// What is there and is no network. Nobody is let in by it: upstream leaves it out as
    /// well, but lets everybody in where nothing else is there.
    pub unreadable: Vec<String>,
}

impl SourceRanges {
    /// What this says; blanks say nothing, as upstream.
    pub fn of(spec: &ServiceSpec) -> SourceRanges {
        let mut ranges = SourceRanges::default();
        if spec.type_.as_deref() != Some("LoadBalancer") {
            return ranges;
        }
        let texts = spec.load_balancer_source_ranges.iter().flatten();
        let texts = texts.map(|text| text.trim());
        for text in texts.filter(|text| !text.is_empty()) {
            let allowed = ranges.allowed.get_or_insert_default();
            match parse(text) {
                Some(range) => allowed.push(range),
                None => ranges.unreadable.push(text.to_owned()),
            }
        }
        if let Some(allowed) = &mut ranges.allowed {
            allowed.sort_unstable();
            allowed.dedup();
        }
        ranges
    }
}

/// Also with zeros before an IPv4 octet, which older API servers have let pass; upstream
/// reads them as decimal.
fn parse(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let plain: Vec<&str> = address
        .split('.')
        .map(|octet| match octet.trim_start_matches('0') {
            "" if !octet.is_empty() => "0",
            plain => plain,
        })
        .collect();
    let read = text.parse().or_else(|_| {
        let plain = format!("{}/{length}", plain.join("."));
        plain.parse::<IpNet>()
    });
    read.ok().map(|range| range.trunc())
}

#[cfg(test)]
mod tests {
    use crate::catalog::source_ranges::*;

    /// `ALLOWED; UNREADABLE` of a load balancer with these.
    fn read(texts: &[&str]) -> String {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        let ranges = SourceRanges::of(&ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            load_balancer_source_ranges: Some(texts),
            ..ServiceSpec::default()
        });
        let allowed = ranges.allowed.map_or("all".to_owned(), |allowed| {
            let texts: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            texts.join(",")
        });
        format!("{allowed}; {}", ranges.unreadable.join(","))
    }

    #[test]
    fn what_cannot_be_read_lets_nobody_in() {
        for (texts, told) in [
            (&[][..], "all; "),
            (&["", " "], "all; "),
            (&[" 10.0.0.7/8", "10.0.0.0/8 "], "10.0.0.0/8; "),
            (&["fd00::/8", "10.0.0.0/8"], "10.0.0.0/8,fd00::/8; "),
            (&["010.001.0.00/16"], "10.1.0.0/16; "),
            (&["10.0.0.0/8", "10.0.0.1", "x"], "10.0.0.0/8; 10.0.0.1,x"),
            (&["10.0.0.0/33", "", "10..0.0/8"], "; 10.0.0.0/33,10..0.0/8"),
        ] {
            assert_eq!(read(texts), told, "{texts:?}");
        }
    }
}
