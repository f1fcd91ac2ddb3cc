//! The nftables table beside the virtual servers: what IPVS alone cannot do. Its chains
//! are always the same, but for one for each list of allowed sources, which mode
//! `nftables` makes too. Never names a Service.
//!
//! IPVS takes packets late in the hooks `input` and `output`; the chains here come before
//! it and refuse, drop or mark.

use super::server::{MARK_MASK, MARK_SIGN};
use crate::nft::parts::{
    DROP, REFUSE, REJECT, SRCNAT, base, from_outside, goto, guard_chains, jump, new_source_chain,
    not_from_pod, plain, refuse_chain, rule, to_new_source, unserved_elements,
};
use crate::nft::rule::{Chain, ChainType, End, Field, HookPoint, Rule, Statement};
use crate::nft::set::{Data, Key, SetName, Verdict};
use crate::routes::{Masquerade, Route, Unserved};
use crate::settings::Settings;

/// The table's name; families have tables of their own.
pub const TABLE: &str = "coracle-proxy-ipvs";

/// The table's sets in order of creation.
pub const SETS: [SetName; 9] = [
    SetName::Services,
    SetName::OutsideServices,
    SetName::Marks,
    SetName::PickService,
    SetName::Unserved,
    SetName::Guards,
    SetName::PickGuard,
    SetName::Addresses,
    SetName::Hairpin,
];

/// Just before IPVS, and after the filters that users have.
const BEFORE_INPUT: i32 = 95;
/// IPVS is at -98 there.
const BEFORE_OUTPUT: i32 = -105;

/// A packet's destination.
const TO: &[Field] = &[Field::Destination, Field::Protocol, Field::Port];

/// Values of destinations that somebody serves: how the source is replaced.
const UNLESS_FROM_POD: u32 = 1;
const FROM_NODE: u32 = 2;
const ALWAYS: u32 = 3;
const NEVER: u32 = 4;

/// What the table has to know of a route.
pub fn value_of(route: &Route) -> u32 {
    if route.endpoints.is_empty() {
        return match route.unserved {
            Unserved::Reject => REJECT,
            Unserved::Drop => DROP,
        };
    }
    match route.masquerade {
        Masquerade::UnlessFromPod => UNLESS_FROM_POD,
        Masquerade::FromNode => FROM_NODE,
        Masquerade::Always => ALWAYS,
        Masquerade::Never => NEVER,
    }
}

/// What is always in a set: verdicts for values.
pub fn constant_elements() -> Vec<(SetName, Key, Data)> {
    let masquerade = [
        (UNLESS_FROM_POD, "masquerade-unless-from-pod"),
        (FROM_NODE, "masquerade-from-node"),
        (ALWAYS, "masquerade-always"),
        (NEVER, "masquerade-never"),
    ];
    let masquerade = masquerade.map(|(value, chain)| {
        let verdict = Data::Verdict(Verdict::Goto(chain.to_owned()));
        (SetName::PickService, Key::Value(value), verdict)
    });
    unserved_elements().into_iter().chain(masquerade).collect()
}

/// All chains that are always there, each after those that it jumps to.
pub fn chains(settings: &Settings) -> Vec<Chain> {
    let mut chains = vec![
        refuse_chain(),
        // An address that the node carries is the Service's alone: nothing of the node's
        // own answers there.
        plain(
            "addresses",
            vec![
                // Older kernels do not only ask a map whether it has a key.
                rule([
                    Statement::LoadScratch(TO.to_vec(), SetName::Services),
                    Statement::Verdict(Verdict::Return),
                ]),
                rule([Statement::InSet(&[Field::Destination], SetName::Addresses), goto(REFUSE)]),
            ],
        ),
        plain("unserved-outside", vec![unserved(SetName::OutsideServices)]),
        plain(
            "unserved",
            vec![from_outside(settings, "unserved-outside"), unserved(SetName::Services)],
        ),
        plain(
            "mark-outside",
            vec![rule([
                Statement::LoadMark(TO, SetName::Marks),
                Statement::SetScratch(0),
                Statement::Verdict(Verdict::Accept),
            ])],
        ),
    ];
    chains.extend(guard_chains());
    chains.extend(masquerade_chains(settings));
    chains.push(plain(
        "services",
        vec![
            from_outside(settings, "mark-outside"),
            rule([
                Statement::LoadScratch(TO.to_vec(), SetName::Services),
                Statement::ScratchVerdict(SetName::PickService),
            ]),
        ],
    ));
    chains.extend(base_chains(settings));
    chains
}

fn unserved(values: SetName) -> Rule {
    rule([
        Statement::LoadScratch(TO.to_vec(), values),
        Statement::ScratchVerdict(SetName::Unserved),
    ])
}

/// The chains that ask for masquerade, and the one that does it. The scratch word is the
/// queueing priority: none is left behind.
fn masquerade_chains(settings: &Settings) -> Vec<Chain> {
    let clear = || rule([Statement::SetScratch(0)]);
    let mark = |condition: Option<Statement>| Rule {
        statements: condition
            .into_iter()
            .chain([Statement::SetMark(settings.masquerade_mark())])
            .collect(),
    };
    let mut unless_from_pod = vec![clear()];
    if settings.masquerade_all {
        unless_from_pod.push(mark(None));
    } else {
        unless_from_pod.extend(not_from_pod(&settings.local_traffic).map(|is| mark(Some(is))));
        // The node's own packets to a carried address have that address as their source.
        unless_from_pod.push(mark(Some(Statement::InSet(&[Field::Source], SetName::Addresses))));
    }
    vec![
        plain("masquerade-unless-from-pod", unless_from_pod),
        plain(
            "masquerade-from-node",
            vec![clear(), mark(Some(Statement::IsLocal(End::Source, true)))],
        ),
        plain("masquerade-always", vec![clear(), mark(None)]),
        plain("masquerade-never", vec![clear()]),
        new_source_chain(settings),
    ]
}

fn base_chains(settings: &Settings) -> [Chain; 3] {
    // Who may not use an address learns nothing about it, so that comes first.
    let before = || {
        ["guard", "addresses", "unserved", "services"]
            .map(|chain| rule([Statement::CtNew, jump(chain)]))
            .into()
    };
    [
        base("filter-input", ChainType::Filter, HookPoint::Input, BEFORE_INPUT, before()),
        base("filter-output", ChainType::Filter, HookPoint::Output, BEFORE_OUTPUT, before()),
        base(
            "nat-postrouting",
            ChainType::Nat,
            HookPoint::Postrouting,
            SRCNAT,
            postrouting(settings),
        ),
    ]
}

fn postrouting(settings: &Settings) -> Vec<Rule> {
    vec![
        // The mark of packets from outside has done its work. They keep their source.
        rule([
            Statement::MarkIs { mask: MARK_MASK, value: MARK_SIGN },
            Statement::ClearMark(u32::MAX),
            Statement::Verdict(Verdict::Accept),
        ]),
        to_new_source(settings),
        // A pod that reaches itself must see the answer come from elsewhere. Its own
        // packets to itself never leave it; those of the node do, and need no such help.
        rule([
            Statement::InSet(&[Field::Source, Field::Destination], SetName::Hairpin),
            Statement::IsLocal(End::Destination, false),
            Statement::Masquerade,
        ]),
    ]
}
