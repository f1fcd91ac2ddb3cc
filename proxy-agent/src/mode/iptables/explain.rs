//! The rules that take a destination's packets, as text: from the plan, which is what is
//! installed. Never looks at the kernel.

use std::collections::BTreeSet;

use super::plan::{Basis, Unit, plan};
use super::rule::{Action, Rule};
use crate::catalog::Catalog;
use crate::routes::Destination;

/// From the shared chains down to the endpoints' DNAT, each as `iptables` would add it.
pub fn rules(catalog: &Catalog, basis: &Basis, to: &Destination) -> Vec<String> {
    let Some((owner, _)) = catalog.claimed(to) else {
        return Vec::new();
    };
    let plan = plan(catalog, basis, &Unit::Port(owner.clone()));
    let mut lines = Vec::new();
    let mut reached = BTreeSet::new();
    for entry in plan.entries.iter().filter(|e| is_for(&e.rule, to)) {
        let (table, chain) = (entry.shared.table.as_str(), entry.shared.chain);
        lines.push(format!("-t {table} -A {chain} {}", entry.rule.render()));
        reached.extend(leads_to(&entry.rule));
    }
    // Each chain comes after those that it leads to.
    for chain in plan.chains.iter().rev() {
        if !reached.contains(chain.name.as_str()) {
            continue;
        }
        for rule in &chain.rules {
            lines.push(format!("-t nat -A {} {}", chain.name, rule.render()));
            reached.extend(leads_to(rule));
        }
    }
    lines
}

fn leads_to(rule: &Rule) -> Option<&str> {
    match &rule.action {
        Some(Action::Jump(chain)) => Some(chain),
        _ => None,
    }
}

fn is_for(rule: &Rule, to: &Destination) -> bool {
    let (protocol, port) = to.transport();
    let is_there = match to {
        Destination::Address { address, .. } => rule.destination == Some((true, (*address).into())),
        // Where it has a destination, that is some of the node's addresses.
        Destination::NodePort { .. } => true,
    };
    is_there && rule.protocol == Some(protocol) && rule.port == Some(port)
}
