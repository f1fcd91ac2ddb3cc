//! What is there whatever the Services are: chains of constant content, and the jumps from
//! the base chains. Contents and order are upstream's. Never mentions a Service.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::names::{
    CANARY, EXTERNAL_SERVICES, FORWARD, MARK_MASQ, NODE_PORTS, POSTROUTING, PROXY_FIREWALL,
    SERVICES, Table,
};
use super::rule::{Action, Rule, State};
use crate::loopback;
use crate::routes::Family;
use crate::settings::{LocalTraffic, Settings};

/// A chain that has a rule for each destination of some kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shared {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub chain: &'static str,
}

const fn filter(chain: &'static str) -> Shared {
    Shared { table: Table::Filter, chain }
}

const fn nat(chain: &'static str) -> Shared {
    Shared { table: Table::Nat, chain }
}

/// Where each address leads.
pub const NAT_SERVICES: Shared = nat(SERVICES);
/// Where each node port leads.
pub const NAT_NODE_PORTS: Shared = nat(NODE_PORTS);
/// Cluster IPs that are refused.
pub const REFUSED: Shared = filter(SERVICES);
/// External destinations that are refused.
pub const REFUSED_EXTERNAL: Shared = filter(EXTERNAL_SERVICES);
/// Ports of health checks, let in.
pub const HEALTH_CHECKS: Shared = filter(NODE_PORTS);
/// Load-balancer addresses that only some may use.
pub const FIREWALL: Shared = filter(PROXY_FIREWALL);

/// All of them.
pub const SHARED: [Shared; 6] =
    [REFUSED_EXTERNAL, HEALTH_CHECKS, FIREWALL, REFUSED, NAT_NODE_PORTS, NAT_SERVICES];

/// The chains of constant content.
pub fn chains(settings: &Settings) -> [(Table, &'static str, Vec<Rule>); 5] {
    let mark = settings.masquerade_mark();
    let postrouting = vec![
        Rule { marked: Some((false, mark)), ..Rule::always(Action::Return) },
        // So that a packet that comes by again is not masqueraded twice.
        Rule::always(Action::Unmark(mark)),
        Rule::always(Action::Masquerade).comment("kubernetes service traffic requiring SNAT"),
    ];
    let forward = vec![
        // An answer whose connection is not known would reset the client's.
        Rule { state: Some(State::Invalid), ..Rule::always(Action::Drop) },
        Rule {
            marked: Some((true, mark)),
            ..Rule::always(Action::Accept).comment("kubernetes forwarding rules")
        },
        Rule {
            state: Some(State::RelatedOrEstablished),
            ..Rule::always(Action::Accept).comment("kubernetes forwarding conntrack rule")
        },
    ];
    [
        (Table::Filter, CANARY, Vec::new()),
        (Table::Filter, FORWARD, forward),
        (Table::Nat, CANARY, Vec::new()),
        (Table::Nat, MARK_MASQ, vec![Rule::always(Action::Mark(mark))]),
        (Table::Nat, POSTROUTING, postrouting),
    ]
}

/// The base chains with the jumps that are wanted there, in order.
pub fn jumps() -> [(Table, &'static str, Vec<Rule>); 6] {
    let new = |chain, comment: &str| Rule {
        state: Some(State::New),
        ..Rule::jump(chain).comment(comment)
    };
    let firewall = || new(PROXY_FIREWALL, "kubernetes load balancer firewall");
    let services = || new(SERVICES, "kubernetes service portals");
    let external = || new(EXTERNAL_SERVICES, "kubernetes externally-visible service portals");
    let forward = Rule::jump(FORWARD).comment("kubernetes forwarding rules");
    let health = Rule::jump(NODE_PORTS).comment("kubernetes health check service ports");
    let portals = || Rule::jump(SERVICES).comment("kubernetes service portals");
    let postrouting = Rule::jump(POSTROUTING).comment("kubernetes postrouting rules");
    [
        (Table::Filter, "INPUT", vec![firewall(), health, external()]),
        (Table::Filter, "FORWARD", vec![firewall(), forward, services(), external()]),
        // Upstream leaves external addresses out here: a connection of the node to one that
        // nobody serves would hang.
        (Table::Filter, "OUTPUT", vec![firewall(), services(), external()]),
        (Table::Nat, "PREROUTING", vec![portals()]),
        (Table::Nat, "OUTPUT", vec![portals()]),
        (Table::Nat, "POSTROUTING", vec![postrouting]),
    ]
}

/// Rules of shared chains that are no Service's: the chain, whether it comes last, the rule.
pub fn entries(settings: &Settings) -> Vec<(Shared, bool, Rule)> {
    let comment = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
    let lead = |on: Rule| on.then(Action::Jump(NODE_PORTS.to_owned())).comment(comment);
    let mut entries: Vec<(Shared, bool, Rule)> =
        node_addresses(settings).into_iter().map(|on| (NAT_SERVICES, true, lead(on))).collect();
    if answers_on_loopback(settings) {
        // Once loopback addresses are routed, others could send to what listens there.
        let martian = Rule {
            destination: Some((true, LOOPBACK)),
            from_local: Some(false),
            ..Rule::always(Action::Drop).comment("block incoming localnet connections")
        };
        entries.push((FIREWALL, false, martian));
    }
    entries
}

const LOOPBACK: IpNet = IpNet::V4(loopback::LOOPBACK);

/// Whether node ports answer on 127.0.0.0/8: by default, as upstream, and where that
/// network is among those that they answer on.
pub fn answers_on_loopback(settings: &Settings) -> bool {
    let is_default = settings.node_port_addresses.is_empty() && settings.family == Family::V4;
    settings.localhost_node_ports && (is_default || loopback::is_asked_for(settings))
}

/// One rule without an action for each group of the node's addresses that node ports
/// answer on. Loopback answers the node alone.
pub fn node_addresses(settings: &Settings) -> Vec<Rule> {
    let on =
        |is, network| Rule { destination: Some((is, network)), to_local: true, ..Rule::default() };
    let is_all = |network: &IpNet| network.prefix_len() == 0;
    let networks = &settings.node_port_addresses;
    let mut rules = Vec::new();
    if networks.is_empty() || networks.iter().any(is_all) {
        rules.push(on(false, loopback_of(settings.family)));
    } else {
        let others = networks.iter().flat_map(without_loopback);
        rules.extend(others.map(|network| on(true, network)));
    }
    if answers_on_loopback(settings) {
        let within = |network: &IpNet| LOOPBACK.contains(network).then(|| network.trunc());
        let mut asked: Vec<IpNet> = networks.iter().filter_map(within).collect();
        if asked.is_empty() {
            asked.push(LOOPBACK);
        }
        rules.extend(
            asked.into_iter().map(|network| Rule { from_local: Some(true), ..on(true, network) }),
        );
    }
    rules
}

/// The networks that together are `network` but for loopback.
fn without_loopback(network: &IpNet) -> Vec<IpNet> {
    let loopback = loopback_of(Family::of(&network.addr()));
    if loopback.contains(network) {
        return Vec::new();
    }
    match network {
        IpNet::V4(wide) if network.contains(&loopback) => wide
            .subnets(wide.prefix_len() + 1)
            .into_iter()
            .flatten()
            .flat_map(|half| without_loopback(&IpNet::V4(half)))
            .collect(),
        _ => vec![network.trunc()],
    }
}

fn loopback_of(family: Family) -> IpNet {
    match family {
        Family::V4 => LOOPBACK,
        Family::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    }
}

/// `rule` for packets of this node's pods (`true`) or of others; `None` where pods cannot
/// be told.
pub fn from_pod(settings: &Settings, is: bool, mut rule: Rule) -> Option<Rule> {
    match &settings.local_traffic {
        LocalTraffic::Unknown => return None,
        LocalTraffic::Network(network) if network.prefix_len() == 0 && !is => return None,
        LocalTraffic::Network(network) => rule.source = Some((is, network.trunc())),
        LocalTraffic::Interface(name) => rule.interface = Some((is, name.clone())),
        LocalTraffic::InterfacePrefix(name) => rule.interface = Some((is, format!("{name}+"))),
    }
    Some(rule)
}
