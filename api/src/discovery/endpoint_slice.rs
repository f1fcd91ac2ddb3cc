//! EndpointSlice: a part of the addresses behind a Service, with their conditions.
//!
//! Never derives them from Pods: a controller does.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use serde_json::Value;

use crate::{
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `endpointslices`.
pub struct EndpointSliceRules;

impl Rules for EndpointSliceRules {
    type Object = EndpointSlice;

    const NAMES: Names = Names {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short_names: &[],
        categories: &[],
        namespaced: true,
        storage_prefix: "endpointslices",
        status: false,
    };

    fn default(slice: &mut EndpointSlice) {
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
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
}

fn port_text(port: &EndpointPort) -> String {
    match (port.port, &port.name) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "*".to_owned(),
    }
}

fn or_unset(text: String) -> String {
    if text.is_empty() {
        "<unset>".to_owned()
    } else {
        text
    }
}
