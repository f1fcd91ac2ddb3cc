//! The table as it would be made in an empty kernel, as a script that `nft -f` takes. Never
//! asks a kernel, and never what this agent itself loads.

use std::fmt::Write;

use super::{diff, plan};
use crate::nft::LAYOUT_VERSION;
use crate::nft::netlink::MAX_REMEMBERED;
use crate::nft::render::{render_chain, render_element};
use crate::nft::rule::Chain;
use crate::nft::ruleset::{Op, Ruleset};
use crate::nft::set::{DataType, FieldType, SETS, SetName};
use crate::routes::{Family, RouteTable};
use crate::settings::Settings;

/// The table of this name for routes in nft's notation: sets with their elements, then chains.
pub fn render(table: &str, settings: &Settings, routes: &impl RouteTable) -> String {
    let mut ruleset = Ruleset::default();
    let mut chains = Vec::new();
    let mut steps = diff::frame(settings, &ruleset);
    take(&steps, &mut ruleset, &mut chains);
    let scopes = plan::plan(routes, settings.family, &routes.keys(), &ruleset);
    steps = diff::picks(settings, &ruleset, &scopes);
    take(&steps, &mut ruleset, &mut chains);
    steps = diff::make(&ruleset, &scopes);
    take(&steps, &mut ruleset, &mut chains);

    let (ip, family) = match settings.family {
        Family::V4 => ("ip", Family::V4),
        Family::V6 => ("ip6", Family::V6),
    };
    let mut text = format!("table {ip} {table} {{\n");
    let _ = writeln!(text, "comment \"Services, layout {LAYOUT_VERSION}\"");
    for set in SETS {
        text += &render_set(set, &ruleset, family);
    }
    for chain in &chains {
        text += &render_chain(chain, family);
    }
    text + "}\n"
}

fn take(steps: &[crate::nft::ruleset::Step], ruleset: &mut Ruleset, chains: &mut Vec<Chain>) {
    for op in steps.iter().flatten() {
        ruleset.apply(op);
        if let Op::AddChain(chain) = op {
            chains.push(chain.clone());
        }
    }
}

fn render_set(set: SetName, ruleset: &Ruleset, family: Family) -> String {
    let key = render_type(set.key(), family);
    let (kind, types) = match set.data() {
        DataType::None => ("set", key),
        DataType::Verdict => ("map", format!("{key} : verdict")),
        DataType::Fields(fields) => ("map", format!("{key} : {}", render_type(fields, family))),
    };
    let mut text = format!("{kind} {} {{\n  type {types};\n", set.as_str());
    if set.is_dynamic() {
        let _ = writeln!(text, "  flags dynamic, timeout;\n  size {MAX_REMEMBERED};");
    }
    let elements = ruleset.elements(set);
    let elements: Vec<String> = elements.map(|(key, data)| render_element(&key, data)).collect();
    if !elements.is_empty() {
        let _ = writeln!(text, "  elements = {{\n    {}\n  }}", elements.join(",\n    "));
    }
    text + "}\n"
}

/// A number is written into the packet's queueing priority, so it is of that type to nft.
fn render_type(fields: &[FieldType], family: Family) -> String {
    let name = |field: &FieldType| match (field, family) {
        (FieldType::Address, Family::V4) => "ipv4_addr",
        (FieldType::Address, Family::V6) => "ipv6_addr",
        (FieldType::Protocol, _) => "inet_proto",
        (FieldType::Port, _) => "inet_service",
        (FieldType::Number, _) => "classid",
    };
    fields.iter().map(name).collect::<Vec<_>>().join(" . ")
}
