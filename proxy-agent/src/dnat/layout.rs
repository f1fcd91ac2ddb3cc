//! The constant part of the table: base chains with their hooks, and the chains
//! between those and the maps. Never mentions a Service. Hooks and priorities are
//! those of upstream's nftables mode.

use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::value::endpoint_chain;
use crate::loopback;
use crate::nft::face::{FACES, Face};
use crate::nft::parts::{
    REFUSE, SRCNAT, base, from_outside, goto, guard_chains, jump, new_source_chain, plain,
    refuse_chain, rule, to_new_source,
};
use crate::nft::rule::{Chain, ChainType, End, Field, HookPoint, Rule, Statement};
use crate::nft::set::{SetName, Verdict};
use crate::routes::Family;
use crate::settings::Settings;

const DSTNAT: i32 = -100;

/// All chains that are always there, each after those that it jumps to.
pub fn chains(settings: &Settings) -> Vec<Chain> {
    let mut chains = vec![
        refuse_chain(),
        plain("unserved-outside", per_kind(settings, true, unserved)),
        plain("unserved", with_outside(settings, "unserved-outside", unserved)),
        plain(
            "cluster-ips",
            vec![rule([
                Statement::InSet(&[Field::Destination], SetName::ClusterIps),
                goto(REFUSE),
            ])],
        ),
    ];
    chains.extend(guard_chains());
    chains.extend([
        endpoint_chain(FACES[0]),
        endpoint_chain(FACES[2]),
        plain("services-outside", per_kind(settings, true, choose)),
        plain("services", with_outside(settings, "services-outside", choose)),
        new_source_chain(settings),
    ]);
    chains.extend(base_chains(settings));
    chains
}

/// The chains that the kernel calls: refusals around the choice of an endpoint (who may
/// not use an address learns nothing about it, so that comes first), the choice itself,
/// and the new source after it.
fn base_chains(settings: &Settings) -> [Chain; 8] {
    use ChainType::{Filter, Nat};
    use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
    let (before, after) = (DSTNAT - 10, DSTNAT + 10);
    let refuse = |chain| rule([Statement::CtNew, jump(chain)]);
    let guard = || refuse("guard");
    let unserved = || refuse("unserved");
    // What already has an endpoint on this node is not looked at again.
    let unserved_here = rule([Statement::CtNew, Statement::CtDnat(false), jump("unserved")]);
    let cluster_ips = || refuse("cluster-ips");
    let services = || vec![rule([jump("services")])];
    let mut prerouting = vec![guard()];
    if settings.family == Family::V4 {
        prerouting.insert(0, no_martians());
    }
    [
        base("filter-prerouting", Filter, Prerouting, before, prerouting),
        base("filter-input", Filter, Input, before, vec![unserved_here]),
        base("filter-forward", Filter, Forward, before, vec![unserved(), cluster_ips()]),
        base("filter-output", Filter, Output, before, vec![guard(), unserved()]),
        base("filter-output-post-dnat", Filter, Output, after, vec![cluster_ips()]),
        base("nat-prerouting", Nat, Prerouting, DSTNAT, services()),
        base("nat-output", Nat, Output, DSTNAT, services()),
        base("nat-postrouting", Nat, Postrouting, SRCNAT, postrouting(settings)),
    ]
}

/// Where loopback addresses are routed, others could send to what listens there alone, node
/// ports among it. Always there: the kernel may still route them for a former run, or for
/// somebody else.
fn no_martians() -> Rule {
    let loopback = IpNet::V4(loopback::LOOPBACK);
    rule([
        Statement::InNetwork(End::Destination, loopback, true),
        Statement::IsLocal(End::Source, false),
        Statement::CtUnknown,
        Statement::Verdict(Verdict::Drop),
    ])
}

fn postrouting(settings: &Settings) -> Vec<Rule> {
    vec![
        // The scratch word is the queueing priority: leave none behind on a packet
        // of this node. Forwarded ones had theirs set again by routing.
        rule([
            Statement::CtDnat(true),
            Statement::IsLocal(End::Source, true),
            Statement::SetScratch(0),
        ]),
        to_new_source(settings),
        // A pod that reaches itself must see the answer come from elsewhere.
        rule([
            Statement::CtDnat(true),
            Statement::InSet(&[Field::Source, Field::Destination], SetName::Hairpin),
            Statement::Masquerade,
        ]),
    ]
}

fn choose(face: Face) -> Vec<Statement> {
    vec![
        Statement::LoadScratch(face.key().to_vec(), face.values()),
        Statement::ScratchVerdict(face.pick()),
    ]
}

fn unserved(face: Face) -> Vec<Statement> {
    vec![
        Statement::LoadScratch(face.key().to_vec(), face.values()),
        Statement::ScratchVerdict(SetName::Unserved),
    ]
}

/// Packets from outside first, then what holds for all.
fn with_outside(settings: &Settings, outside: &str, act: fn(Face) -> Vec<Statement>) -> Vec<Rule> {
    let mut rules = vec![from_outside(settings, outside)];
    rules.extend(per_kind(settings, false, act));
    rules
}

/// One rule for destinations with an address, and one for each group of the
/// node's addresses that node ports answer on.
fn per_kind(settings: &Settings, outside: bool, act: fn(Face) -> Vec<Statement>) -> Vec<Rule> {
    let [address, node_port] = [false, true].map(|node_port| Face { node_port, outside });
    debug_assert!(FACES.contains(&address));
    let mut rules = vec![Rule { statements: act(address) }];
    let mut on = |conditions: Vec<Statement>| {
        let mut statements = vec![Statement::IsLocal(End::Destination, true)];
        statements.extend(conditions);
        statements.extend(act(node_port));
        rules.push(Rule { statements });
    };
    let is_in = |network, is| Statement::InNetwork(End::Destination, network, is);
    let loopback = match settings.family {
        Family::V4 => IpNet::V4(loopback::LOOPBACK),
        Family::V6 => IpNet::V6(Ipv6Addr::LOCALHOST.into()),
    };
    if settings.node_port_addresses.is_empty() {
        on(vec![is_in(loopback, false)]);
    }
    for &network in &settings.node_port_addresses {
        match settings.family {
            Family::V4 => on(vec![is_in(network, true)]),
            // The kernel would not route it.
            Family::V6 if network == loopback => {}
            Family::V6 => on(vec![is_in(network, true), is_in(loopback, false)]),
        }
    }
    rules
}
