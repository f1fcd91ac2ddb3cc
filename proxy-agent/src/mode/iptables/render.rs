//! The whole plan as text in the notation of `iptables-save`, for people. Never read back,
//! and never what is installed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::frame::{self, SHARED};
use super::names::Table;
use super::plan::{Basis, all_units, plan};
use crate::catalog::Catalog;
use crate::settings::Settings;

/// The base chains of a table, in the kernel's order.
fn base_chains(table: Table) -> &'static [&'static str] {
    match table {
        Table::Filter => &["INPUT", "FORWARD", "OUTPUT"],
        Table::Nat => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        Table::Mangle => &[],
    }
}

/// All rules that a catalog's Services need.
pub fn render(settings: &Settings, catalog: &Catalog) -> String {
    let mut chains: BTreeMap<(Table, String), Vec<String>> = BTreeMap::new();
    for (table, chain, rules) in frame::chains(settings).into_iter().chain(frame::jumps()) {
        let rules = rules.iter().map(|rule| rule.render()).collect();
        chains.insert((table, chain.to_owned()), rules);
    }
    let mut last: BTreeMap<(Table, String), Vec<String>> = BTreeMap::new();
    for shared in SHARED {
        chains.insert((shared.table, shared.chain.to_owned()), Vec::new());
    }
    for (shared, is_last, rule) in frame::entries(settings) {
        let rules = if is_last { &mut last } else { &mut chains };
        let key = (shared.table, shared.chain.to_owned());
        rules.entry(key).or_default().push(rule.render());
    }
    let basis = Basis { settings: settings.clone(), remembers: true };
    for unit in all_units(catalog, settings.family) {
        let plan = plan(catalog, &basis, &unit);
        for chain in plan.chains {
            let rules = chain.rules.iter().map(|rule| rule.render()).collect();
            chains.insert((Table::Nat, chain.name), rules);
        }
        for entry in plan.entries {
            let rules = if entry.last { &mut last } else { &mut chains };
            let key = (entry.shared.table, entry.shared.chain.to_owned());
            rules.entry(key).or_default().push(entry.rule.render());
        }
    }
    for (chain, rules) in last {
        chains.entry(chain).or_default().extend(rules);
    }
    [Table::Filter, Table::Nat].map(|table| render_table(table, &chains)).concat()
}

fn render_table(table: Table, chains: &BTreeMap<(Table, String), Vec<String>>) -> String {
    let mut text = format!("*{}\n", table.as_str());
    let base = base_chains(table);
    for chain in base {
        let _ = writeln!(text, ":{chain} ACCEPT [0:0]");
    }
    let is_own = |chain: &str| !base.contains(&chain);
    let of_table = || chains.iter().filter(|((t, _), _)| *t == table);
    for ((_, chain), _) in of_table().filter(|((_, chain), _)| is_own(chain)) {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for ((_, chain), rules) in of_table() {
        for rule in rules {
            let _ = writeln!(text, "-A {chain} {rule}");
        }
    }
    text + "COMMIT\n"
}
