//! One Service and its EndpointSlices, told as the names below
//! `SERVICE.NAMESPACE.svc.DOMAIN`. Never sees another Service, a query or a socket.
//!
//! Follows the Kubernetes DNS specification 1.1.0, and CoreDNS's `kubernetes`
//! plugin where the specification leaves a choice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A port as SRV names spell it: (protocol in lower case, port name).
pub type PortName = (String, String);

/// Where an SRV record points.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrvTarget {
    /// Port number on the target.
    pub port: u16,
    /// Endpoint's label below the Service's name; `None` is the Service's own name.
    pub hostname: Option<String>,
}

/// What DNS says about one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecords {
    /// Addresses of the Service's own name: cluster IPs, or a headless Service's endpoints.
    pub addresses: BTreeSet<IpAddr>,
    /// Target of an ExternalName Service.
    pub canonical_name: Option<Name>,
    /// Endpoints by their label below the Service's name.
    pub hostnames: BTreeMap<String, BTreeSet<IpAddr>>,
    /// SRV targets by port.
    pub ports: BTreeMap<PortName, BTreeSet<SrvTarget>>,
    /// Cluster IPs whose reverse name points at the Service itself.
    pub cluster_ips: BTreeSet<IpAddr>,
}

impl ServiceRecords {
    /// Builds the records. No Service, no records: slices alone name nothing.
    pub fn build<'a>(
        service: Option<&Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut records = Self::default();
        let Some(spec) = service.and_then(|service| service.spec.as_ref()) else {
            return records;
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            records.canonical_name = spec.external_name.as_deref().and_then(external_name);
            return records;
        }
        let addresses = cluster_ips(spec);
        let headless = spec.cluster_ip.as_deref() == Some("None");
        if !headless {
            records.addresses.clone_from(&addresses);
            records.cluster_ips = addresses;
            for port in spec.ports.iter().flatten() {
                let Some(number) = u16::try_from(port.port).ok() else {
                    continue;
                };
                let target = SrvTarget { port: number, hostname: None };
                records.add_port(port.name.as_deref(), port.protocol.as_deref(), target);
            }
        }
        let publish_not_ready = spec.publish_not_ready_addresses.unwrap_or(false);
        for slice in slices {
            records.add_slice(slice, publish_not_ready, headless);
        }
        records
    }

    /// Whether the Service's own name exists at all.
    ///
    /// A headless Service without ready endpoints does not (specification, 2.4.1).
    pub fn exists(&self) -> bool {
        !self.addresses.is_empty() || self.canonical_name.is_some()
    }

    /// Every address that has a reverse name here, with the label of the name it
    /// points at (`None`: the Service's own).
    pub fn reverse(&self) -> impl Iterator<Item = (IpAddr, Option<&str>)> {
        let own = self.cluster_ips.iter().map(|address| (*address, None));
        let endpoints = self.hostnames.iter().flat_map(|(hostname, addresses)| {
            addresses.iter().map(move |address| (*address, Some(hostname.as_str())))
        });
        own.chain(endpoints)
    }

    fn add_slice(&mut self, slice: &EndpointSlice, publish_not_ready: bool, headless: bool) {
        if slice.address_type == "FQDN" {
            return;
        }
        for endpoint in slice.endpoints.iter().flatten() {
            // An unknown readiness counts as ready, as for every consumer of slices.
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|it| it.ready).unwrap_or(true);
            if !ready && !publish_not_ready {
                continue;
            }
            for address in &endpoint.addresses {
                let Ok(address) = address.parse::<IpAddr>() else {
                    continue;
                };
                let hostname = match &endpoint.hostname {
                    Some(hostname) => hostname.to_ascii_lowercase(),
                    None => dashed(address),
                };
                self.hostnames.entry(hostname.clone()).or_default().insert(address);
                if !headless {
                    continue;
                }
                self.addresses.insert(address);
                for port in slice.ports.iter().flatten() {
                    let Some(number) = port.port.and_then(|it| u16::try_from(it).ok()) else {
                        continue;
                    };
                    let target = SrvTarget { port: number, hostname: Some(hostname.clone()) };
                    self.add_port(port.name.as_deref(), port.protocol.as_deref(), target);
                }
            }
        }
    }

    fn add_port(&mut self, name: Option<&str>, protocol: Option<&str>, target: SrvTarget) {
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
        // A port without a name has no SRV name of its own, but is still listed
        // when the Service's name itself is asked for SRV.
        let name = name.unwrap_or_default().to_ascii_lowercase();
        self.ports.entry((protocol, name)).or_default().insert(target);
    }
}

fn cluster_ips(spec: &k8s_openapi::api::core::v1::ServiceSpec) -> BTreeSet<IpAddr> {
    // `clusterIPs` is absent in objects written before dual-stack.
    let several = spec.cluster_ips.iter().flatten();
    several.chain(&spec.cluster_ip).filter_map(|address| address.parse().ok()).collect()
}

/// The CNAME target, or nothing where the field holds an address: a CNAME cannot
/// point at one, and upstream gives no record then.
fn external_name(text: &str) -> Option<Name> {
    let bare = text.trim_end_matches('.');
    if bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut name = Name::from_ascii(bare).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// `10.244.1.2` → `10-244-1-2`: the label of an endpoint without a hostname.
pub fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
