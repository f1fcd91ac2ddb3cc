//! Endpoints. Never looks at the Service of the same name.

use serde_json::Value;

use super::fields::{head, items, text};
use super::page::Page;

/// Writes the Endpoints.
pub fn describe(page: &mut Page, object: &Value) {
    head(page, object);
    page.line(0, "Subsets:");
    for subset in items(&object["subsets"]) {
        page.field(1, "Addresses", addresses(&subset["addresses"]));
        page.field(1, "NotReadyAddresses", addresses(&subset["notReadyAddresses"]));
        if items(&subset["ports"]).next().is_some() {
            page.line(1, "Ports:");
            page.line(2, "Name\tPort\tProtocol");
            page.line(2, "----\t----\t--------");
        }
        for port in items(&subset["ports"]) {
            let name = text(&port["name"]);
            let name = if name.is_empty() { "<unset>" } else { name };
            page.line(2, format!("{name}\t{}\t{}", port["port"], text(&port["protocol"])));
        }
        page.line(0, "");
    }
}

fn addresses(addresses: &Value) -> String {
    let texts: Vec<_> = items(addresses).map(|it| text(&it["ip"])).collect();
    if texts.is_empty() {
        return "<none>".to_owned();
    }
    texts.join(",")
}
