//! Endpoints.

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};

use super::fields::{joined, maps, name};
use super::page::Page;

/// Writes the Endpoints.
pub fn describe(page: &mut Page, object: &Endpoints) {
    name(page, &object.metadata);
    maps(page, &object.metadata);
    page.line(0, "Subsets:");
    for subset in object.subsets.iter().flatten() {
        page.field(1, "Addresses", addresses(subset.addresses.as_ref()));
        page.field(1, "NotReadyAddresses", addresses(subset.not_ready_addresses.as_ref()));
        for (index, port) in subset.ports.iter().flatten().enumerate() {
            if index == 0 {
                page.line(1, "Ports:");
                page.line(2, "Name\tPort\tProtocol");
                page.line(2, "----\t----\t--------");
            }
            let name = port.name.as_deref().filter(|it| !it.is_empty()).unwrap_or("<unset>");
            let protocol = port.protocol.as_deref().unwrap_or_default();
            page.line(2, format!("{name}\t{}\t{protocol}", port.port));
        }
        page.line(0, "");
    }
}

fn addresses(addresses: Option<&Vec<EndpointAddress>>) -> String {
    joined(addresses.into_iter().flatten().map(|it| &it.ip), ",")
}
