//! The table as it would be made in an empty kernel, as text. Never asks a kernel.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::layout::TABLE;
use super::render::{render_chain, render_element};
use super::rule::Chain;
use super::ruleset::{Op, Ruleset, Step};
use super::set::SETS;
use super::{diff, plan};
use crate::mode::Settings;
use crate::model::{Family, Model};

/// The table in nft's notation: sets that have elements, then chains by name.
pub fn render(settings: &Settings, model: &Model) -> String {
    let mut ruleset = Ruleset::default();
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    let mut apply = |ruleset: &mut Ruleset, steps: Vec<Step>| {
        for op in steps.iter().flatten() {
            ruleset.apply(op);
            if let Op::AddChain(chain) | Op::ReplaceRules(chain) = op {
                chains.insert(chain.name.clone(), chain.clone());
            }
        }
    };
    let frame = diff::frame(settings, &ruleset);
    apply(&mut ruleset, frame);
    let keys = plan::all_keys(model, &ruleset);
    let scopes = plan::plan(model, settings.family, &keys, &ruleset);
    let steps = diff::make(settings, &ruleset, &scopes);
    apply(&mut ruleset, steps);

    let family = match settings.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut text = format!("table {family} {TABLE} {{\n");
    for set in SETS {
        let elements: Vec<String> = ruleset
            .elements(set)
            .map(|(key, data)| render_element(key, data))
            .collect();
        if elements.is_empty() {
            continue;
        }
        let _ = writeln!(text, "  map {} {{", set.as_str());
        for element in elements {
            let _ = writeln!(text, "    {element}");
        }
        text += "  }\n";
    }
    for chain in chains.values() {
        for line in render_chain(chain, settings.family).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text + "}\n"
}
