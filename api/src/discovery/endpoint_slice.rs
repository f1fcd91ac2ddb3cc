//! EndpointSlice: a part of the addresses behind a Service, with their conditions.
//!
//! Never derives them from Pods: a controller does.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use serde_json::Value;

use crate::{
    check::{Checks, PROTOCOLS},
    defaults,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    names,
    table::{self, column},
};

/// Most endpoints of one slice.
const MAX_ENDPOINTS: usize = 1000;
/// Most addresses of one endpoint.
const MAX_ADDRESSES: usize = 100;
/// Most ports of one slice.
const MAX_PORTS: usize = 20_000;
/// Most zones or nodes that one endpoint is hinted for.
const MAX_HINTS: usize = 8;
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// Rules of `endpointslices`.
pub struct EndpointSliceRules;

impl Rules for EndpointSliceRules {
    type Object = EndpointSlice;

    fn names() -> Names {
        Names::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    }

    fn default(slice: &mut EndpointSlice) {
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            defaults::text(&mut port.protocol, "TCP");
        }
    }

    fn prepare_create(slice: &mut EndpointSlice) {
        slice.metadata.generation = Some(1);
    }

    fn prepare_update(new: &mut EndpointSlice, old: &EndpointSlice) {
        let same = new.endpoints == old.endpoints
            && new.ports == old.ports
            && new.address_type == old.address_type
            && new.metadata.labels == old.metadata.labels;
        if !same {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn validate(slice: &EndpointSlice) -> Vec<FieldError> {
        let mut checks = Checks::new();
        checks.one_of(&Path::new("addressType"), &slice.address_type, &ADDRESS_TYPES);
        validate_ports(&mut checks, slice.ports.as_deref().unwrap_or_default());
        let path = Path::new("endpoints");
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > MAX_ENDPOINTS {
            checks.push(FieldError::too_many(&path, endpoints.len(), MAX_ENDPOINTS));
            return checks.into_errors();
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(&mut checks, &path.index(index), endpoint, &slice.address_type);
        }
        checks.into_errors()
    }

    fn validate_update(new: &EndpointSlice, old: &EndpointSlice) -> Vec<FieldError> {
        let mut checks = Checks::new();
        checks.immutable(&Path::new("addressType"), &new.address_type, &old.address_type);
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("AddressType", "string", "IPv4, IPv6 or FQDN."),
        column("Ports", "string", "Ports of every endpoint of the slice."),
        column("Endpoints", "string", "Addresses, ready or not."),
        table::AGE,
    ];

    fn row(slice: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let ports: Vec<_> = slice.ports.iter().flatten().map(port_text).collect();
        let addresses: Vec<_> = slice
            .endpoints
            .iter()
            .flatten()
            .flat_map(|endpoint| endpoint.addresses.clone())
            .collect();
        vec![
            table::name(slice),
            Value::from(slice.address_type.clone()),
            Value::from(or_unset(table::shortened(&ports))),
            Value::from(or_unset(table::shortened(&addresses))),
            table::age(slice, now),
        ]
    }

    const NUMBERS: &'static str = "
        Endpoint addresses=1 conditions=2 hostname=3* targetRef=4 deprecatedTopology=5 nodeName=6*
          zone=7* hints=8
        EndpointConditions ready=1* serving=2* terminating=3*
        EndpointHints forZones=1 forNodes=2
        EndpointPort name=1* protocol=2* port=3* appProtocol=4*
        EndpointSlice metadata=1 endpoints=2 ports=3 addressType=4*
        ForNode name=1*
        ForZone name=1*
    ";

    const FACTS: &'static str = "
        Endpoint.addresses list=set
        EndpointHints.forNodes list=atomic
        EndpointHints.forZones list=atomic
        EndpointPort map=atomic
        EndpointSlice.endpoints list=atomic
        EndpointSlice.ports list=atomic
    ";
}

fn validate_endpoint(checks: &mut Checks, path: &Path, endpoint: &Endpoint, type_: &str) {
    let list = path.child("addresses");
    match endpoint.addresses.len() {
        0 => checks.push(FieldError::required(&list, "must contain at least 1 address")),
        count if count > MAX_ADDRESSES => {
            checks.push(FieldError::too_many(&list, count, MAX_ADDRESSES));
        }
        _ => {}
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let path = list.index(index);
        match type_ {
            "FQDN" => checks.reasons(&path, address, &names::dns1123_subdomain(address)),
            "IPv4" if address.parse::<Ipv4Addr>().is_err() => {
                let detail = "must be a valid IPv4 address, (e.g. 10.9.8.7)";
                checks.push(FieldError::invalid(&path, address, detail));
            }
            "IPv6" if address.parse::<Ipv6Addr>().is_err() => {
                let detail = "must be a valid IPv6 address, (e.g. 2001:db8::ffff)";
                checks.push(FieldError::invalid(&path, address, detail));
            }
            _ => checks.endpoint_ip(&path, address),
        }
    }
    let hostname = endpoint.hostname.as_deref();
    checks.named_if_set(&path.child("hostname"), hostname, names::dns1123_label);
    let node = endpoint.node_name.as_deref();
    checks.named_if_set(&path.child("nodeName"), node, names::dns1123_subdomain);
    let hints = endpoint.hints.clone().unwrap_or_default();
    let zones = hints.for_zones.as_ref().map_or(0, Vec::len);
    let nodes = hints.for_nodes.as_ref().map_or(0, Vec::len);
    for (field, count) in [("forZones", zones), ("forNodes", nodes)] {
        if count > MAX_HINTS {
            let path = path.child("hints").child(field);
            checks.push(FieldError::too_many(&path, count, MAX_HINTS));
        }
    }
}

fn validate_ports(checks: &mut Checks, ports: &[EndpointPort]) {
    let list = Path::new("ports");
    if ports.len() > MAX_PORTS {
        checks.push(FieldError::too_many(&list, ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        checks.named_if_set(&path.child("name"), Some(name), names::dns1123_label);
        if !seen.insert(name) {
            checks.push(FieldError::duplicate(&path.child("name"), name));
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        checks.one_of(&path.child("protocol"), protocol, &PROTOCOLS);
        if let Some(number) = port.port {
            checks.port(&path.child("port"), number);
        }
        let application = port.app_protocol.as_deref();
        checks.named_if_set(&path.child("appProtocol"), application, names::qualified_name);
    }
}

fn port_text(port: &EndpointPort) -> String {
    match (port.port, &port.name) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "*".to_owned(),
    }
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}
