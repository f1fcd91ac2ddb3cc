//! Endpoints: the addresses behind a Service, in the old form of one object a Service.
//!
//! Never derives them from Pods: a controller does.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints};
use serde_json::Value;

use crate::{
    check::{Checks, PROTOCOLS},
    defaults,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    names,
    table::{self, column},
};

/// Rules of `endpoints`.
pub struct EndpointsRules;

impl Rules for EndpointsRules {
    type Object = Endpoints;

    fn names() -> Names {
        Names::namespaced("", "v1", "Endpoints", "endpoints")
            .short(&["ep"])
            .stored_at("services/endpoints")
    }

    fn default(endpoints: &mut Endpoints) {
        for subset in endpoints.subsets.iter_mut().flatten() {
            for port in subset.ports.iter_mut().flatten() {
                defaults::text(&mut port.protocol, "TCP");
            }
        }
    }

    fn validate(endpoints: &Endpoints) -> Vec<FieldError> {
        let mut checks = Checks::new();
        for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
            validate_subset(&mut checks, &Path::new("subsets").index(index), subset);
        }
        checks.into_errors()
    }

    const DEPRECATED: Option<&'static str> =
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");

    const COLUMNS: &'static [Column] =
        &[table::NAME, column("Endpoints", "string", "Ready addresses and ports."), table::AGE];

    fn row(endpoints: &Endpoints, now: Timestamp) -> Vec<Value> {
        let cell = match endpoints.subsets.as_deref() {
            None | Some([]) => "<none>".to_owned(),
            Some(subsets) => {
                table::shortened(&subsets.iter().flat_map(addresses).collect::<Vec<_>>())
            }
        };
        vec![table::name(endpoints), Value::from(cell), table::age(endpoints, now)]
    }

    const NUMBERS: &'static str = "
        EndpointAddress ip=1* targetRef=2 hostname=3 nodeName=4*
        EndpointPort name=1 port=2* protocol=3 appProtocol=4*
        EndpointSubset addresses=1 notReadyAddresses=2 ports=3
        Endpoints metadata=1 subsets=2
    ";

    const FACTS: &'static str = "
        EndpointAddress map=atomic
        EndpointPort map=atomic
        EndpointSubset.addresses list=atomic
        EndpointSubset.notReadyAddresses list=atomic
        EndpointSubset.ports list=atomic
        Endpoints.subsets list=atomic
    ";
}

fn validate_subset(checks: &mut Checks, path: &Path, subset: &EndpointSubset) {
    let lists =
        [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)];
    if lists.iter().all(|(_, list)| list.as_ref().is_none_or(Vec::is_empty)) {
        let detail = "must specify `addresses` or `notReadyAddresses`";
        checks.push(FieldError::required(path, detail));
    }
    for (field, list) in lists {
        for (index, address) in list.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            checks.endpoint_ip(&path.child("ip"), &address.ip);
            let hostname = address.hostname.as_deref();
            checks.named_if_set(&path.child("hostname"), hostname, names::dns1123_label);
            let node = address.node_name.as_deref();
            checks.named_if_set(&path.child("nodeName"), node, names::dns1123_subdomain);
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if ports.len() > 1 {
            checks.named(&path.child("name"), name, names::dns1123_label);
        } else {
            checks.named_if_set(&path.child("name"), Some(name), names::dns1123_label);
        }
        checks.port(&path.child("port"), port.port);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        checks.one_of(&path.child("protocol"), protocol, &PROTOCOLS);
        let application = port.app_protocol.as_deref();
        checks.named_if_set(&path.child("appProtocol"), application, names::qualified_name);
    }
}

fn addresses(subset: &EndpointSubset) -> Vec<String> {
    let ready = subset.addresses.as_deref().unwrap_or_default();
    match subset.ports.as_deref() {
        // A headless Service may have no ports.
        None | Some([]) => ready.iter().map(|address| address.ip.clone()).collect(),
        Some(ports) => ports
            .iter()
            .flat_map(|port| ready.iter().map(|address| host_port(&address.ip, port.port)))
            .collect(),
    }
}

fn host_port(ip: &str, port: i32) -> String {
    match ip.parse() {
        Ok(IpAddr::V6(_)) => format!("[{ip}]:{port}"),
        _ => format!("{ip}:{port}"),
    }
}
