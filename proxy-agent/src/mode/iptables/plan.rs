//! What one Service port needs: its chains, and its rules in chains that all share. Pure;
//! never knows what is installed (that is `diff`'s).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::frame::{
    FIREWALL, HEALTH_CHECKS, NAT_NODE_PORTS, NAT_SERVICES, REFUSED, REFUSED_EXTERNAL, Shared,
    from_pod, node_addresses,
};
use super::names::{MARK_MASQ, PortChains};
use super::rule::{Action, Chance, Recent, Rule};
use crate::catalog::{Catalog, ServicePortName};
use crate::routes::{
    Affinity, Destination, Family, Masquerade, Origin, Policy, Protocol, Route, RouteTable, Routes,
    Target, Unserved,
};
use crate::settings::Settings;

/// What is planned, written and forgotten together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// A cluster IP: its ports that no Service has are refused.
    ClusterIp(IpAddr),
    /// A Service port.
    Port(ServicePortName),
}

/// A rule in a chain that all units share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The chain.
    pub shared: Shared,
    /// Whether it comes after the rules that are not last.
    pub last: bool,
    /// The rule.
    pub rule: Rule,
}

/// A chain of one unit's own, in table `nat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// What one unit needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitPlan {
    /// Its chains, each after those that it leads to.
    pub chains: Vec<Chain>,
    /// Its rules in shared chains.
    pub entries: Vec<Entry>,
}

/// Every unit of the catalog, in order.
pub fn all_units(catalog: &Catalog, family: Family) -> Vec<Unit> {
    let mut units: Vec<Unit> = catalog
        .cluster_ips()
        .filter(|address| Family::of(address) == family)
        .map(|address| Unit::ClusterIp(*address))
        .collect();
    let ports = catalog
        .destinations()
        .filter(|to| to.family() == family)
        .filter_map(|to| Some(Unit::Port(catalog.claimed(to)?.0.clone())));
    units.extend(ports);
    units.sort_unstable();
    units.dedup();
    units
}

/// What a plan depends on beside the catalog.
#[derive(Clone, Debug)]
pub struct Basis {
    /// As every mode has them.
    pub settings: Settings,
    /// Whether the kernel can remember clients; without that there is no affinity.
    pub remembers: bool,
}

/// What `unit` needs; nothing where the catalog does not have it.
pub fn plan(catalog: &Catalog, basis: &Basis, unit: &Unit) -> UnitPlan {
    match unit {
        Unit::ClusterIp(address) => plan_cluster_ip(catalog, *address),
        Unit::Port(name) => plan_port(catalog, basis, name),
    }
}

/// Upstream lets such packets go where routing takes them, which in most clusters is
/// nowhere: the client waits.
fn plan_cluster_ip(catalog: &Catalog, address: IpAddr) -> UnitPlan {
    let mut plan = UnitPlan::default();
    if catalog.is_cluster_ip(&address) {
        plan.entries.push(Entry {
            shared: REFUSED,
            last: true,
            rule: Rule {
                destination: Some((true, address.into())),
                ..Rule::always(Action::Reject).comment("no such port of a cluster IP")
            },
        });
    }
    plan
}

/// The destinations that the port has, with their routes: other Services may have claimed
/// some of the Service's before it.
fn destinations<'a>(
    catalog: &'a Catalog,
    family: Family,
    name: &ServicePortName,
) -> Vec<(Destination, &'a Routes)> {
    let Some(service) = catalog.service(&name.service) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for port in service.ports.iter().filter(|port| port.name == name.port) {
        let addresses = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
        all.extend(addresses.into_iter().flatten().map(|address| Destination::Address {
            address: *address,
            protocol: port.protocol,
            port: port.port,
        }));
        if port.node_port != 0 {
            all.push(Destination::NodePort {
                family,
                protocol: port.protocol,
                port: port.node_port,
            });
        }
    }
    let mut claimed: Vec<(Destination, &Routes)> = Vec::new();
    for to in all.into_iter().filter(|to| to.family() == family) {
        match catalog.claimed(&to) {
            Some((owner, routes)) if owner == name && claimed.iter().all(|(d, _)| *d != to) => {
                claimed.push((to, routes));
            }
            _ => {}
        }
    }
    claimed
}

fn plan_port(catalog: &Catalog, basis: &Basis, name: &ServicePortName) -> UnitPlan {
    let settings = &basis.settings;
    let destinations = destinations(catalog, settings.family, name);
    let mut builder: Option<Builder<'_>> = None;
    for (to, routes) in &destinations {
        let builder = builder.get_or_insert_with(|| Builder {
            settings,
            remembers: basis.remembers,
            protocol: to.transport().0,
            chains: PortChains::new(name, to.transport().0),
            plan: UnitPlan::default(),
            draws: BTreeMap::new(),
            external: None,
            allowed_sources: None,
        });
        match routes.origin {
            Origin::ClusterIp => builder.internal(to, &routes.inside),
            Origin::ExternalIp | Origin::LoadBalancer | Origin::NodePort => {
                builder.external(to, routes);
            }
        }
    }
    let Some(mut builder) = builder else {
        return UnitPlan::default();
    };
    let service = catalog.service(&name.service);
    if let Some(port) = service.and_then(|service| service.health_check_node_port) {
        builder.health_check(port);
    }
    builder.finish()
}

/// A chain that draws an endpoint.
struct Draw {
    endpoints: Vec<Target>,
    affinity: Option<Affinity>,
    masquerade: Vec<Rule>,
}

struct Builder<'a> {
    settings: &'a Settings,
    remembers: bool,
    protocol: Protocol,
    chains: PortChains,
    plan: UnitPlan,
    /// By the name of the chain.
    draws: BTreeMap<String, Draw>,
    /// Routes of the external destinations, which are the same for all of a port's.
    external: Option<Routes>,
    allowed_sources: Option<Vec<ipnet::IpNet>>,
}

impl Builder<'_> {
    fn enter(&mut self, shared: Shared, last: bool, rule: Rule) {
        self.plan.entries.push(Entry { shared, last, rule });
    }

    fn draw(&mut self, route: &Route) -> &mut Draw {
        let chain = match route.policy {
            Policy::Cluster => &self.chains.cluster,
            Policy::Local => &self.chains.local,
        };
        self.draws.entry(chain.clone()).or_insert_with(|| Draw {
            endpoints: route.endpoints.clone(),
            affinity: route.affinity.filter(|_| self.remembers),
            masquerade: Vec::new(),
        })
    }

    fn draw_chain(&self, policy: Policy) -> String {
        match policy {
            Policy::Cluster => self.chains.cluster.clone(),
            Policy::Local => self.chains.local.clone(),
        }
    }

    fn refusal(&self, unserved: Unserved) -> (Action, String) {
        let port = &self.chains.port;
        match unserved {
            Unserved::Reject => (Action::Reject, format!("{port} has no endpoints")),
            Unserved::Drop => (Action::Drop, format!("{port} has no local endpoints")),
        }
    }

    fn internal(&mut self, to: &Destination, route: &Route) {
        let packets = packets_for(to);
        if route.endpoints.is_empty() {
            let (action, comment) = self.refusal(route.unserved);
            self.enter(REFUSED, false, packets.then(action).comment(&comment));
            return;
        }
        let comment = format!("{} cluster IP", self.chains.port);
        let packets = packets.comment(&comment);
        let chain = self.draw_chain(route.policy);
        self.enter(NAT_SERVICES, false, packets.clone().then(Action::Jump(chain)));
        let mark = packets.then(Action::Jump(MARK_MASQ.to_owned()));
        let all = self.settings.masquerade_all || route.masquerade == Masquerade::Always;
        let mark = match route.masquerade {
            Masquerade::Never => None,
            _ if all => Some(mark),
            _ => from_pod(self.settings, false, mark),
        };
        self.draw(route).masquerade.extend(mark);
    }

    fn external(&mut self, to: &Destination, routes: &Routes) {
        let outside = routes.outside.as_ref().unwrap_or(&routes.inside);
        let is_served = !routes.inside.endpoints.is_empty() || !outside.endpoints.is_empty();
        let packets = packets_for(to);
        let port = self.chains.port.clone();
        let (shared, comment) = match routes.origin {
            Origin::NodePort => (NAT_NODE_PORTS, port.clone()),
            Origin::LoadBalancer => (NAT_SERVICES, format!("{port} loadbalancer IP")),
            _ => (NAT_SERVICES, format!("{port} external IP")),
        };
        if is_served {
            let first = match routes.allowed_sources {
                Some(_) => self.chains.firewall.clone(),
                None => self.chains.external.clone(),
            };
            let rule = packets.clone().then(Action::Jump(first)).comment(&comment);
            self.enter(shared, false, rule);
            self.external = Some(routes.clone());
        }
        if outside.endpoints.is_empty() {
            let (action, comment) = self.refusal(outside.unserved);
            let refuse = |packets: Rule| packets.then(action.clone()).comment(&comment);
            for rule in self.at_node(to, &packets) {
                self.enter(REFUSED_EXTERNAL, false, refuse(rule));
            }
        }
        if let Some(ranges) = &routes.allowed_sources {
            if is_served {
                self.allowed_sources = Some(ranges.clone());
            } else {
                self.let_through(&packets, ranges);
            }
            let comment = format!("{port} traffic not accepted by {}", self.chains.firewall);
            let rule = packets.then(Action::Drop).comment(&comment);
            self.enter(FIREWALL, true, rule);
        }
    }

    /// A node port's packets by the addresses that it answers on; others as they are.
    fn at_node(&self, to: &Destination, packets: &Rule) -> Vec<Rule> {
        if matches!(to, Destination::Address { .. }) {
            return vec![packets.clone()];
        }
        let at = |on: Rule| Rule {
            destination: on.destination,
            from_local: on.from_local,
            to_local: on.to_local,
            ..packets.clone()
        };
        node_addresses(self.settings).into_iter().map(at).collect()
    }

    /// Where nobody serves, those who may come are refused like everybody else's clients.
    fn let_through(&mut self, packets: &Rule, ranges: &[ipnet::IpNet]) {
        let comment = format!("{} loadbalancer IP", self.chains.port);
        for range in ranges {
            let rule = Rule {
                source: Some((true, *range)),
                ..packets.clone().then(Action::Return).comment(&comment)
            };
            self.enter(FIREWALL, false, rule);
        }
    }

    fn health_check(&mut self, port: u16) {
        let rule = Rule {
            protocol: Some(Protocol::Tcp),
            port: Some(port),
            ..Rule::always(Action::Accept)
        };
        let comment = format!("{} health check node port", self.chains.port);
        self.enter(HEALTH_CHECKS, false, rule.comment(&comment));
    }

    fn finish(mut self) -> UnitPlan {
        let external = self.external.take().map(|routes| self.external_chain(&routes));
        let firewall = self.allowed_sources.take().map(|ranges| self.firewall_chain(&ranges));
        let draws = std::mem::take(&mut self.draws);
        let mut endpoints: BTreeMap<Target, Option<Affinity>> = BTreeMap::new();
        for draw in draws.values() {
            endpoints.extend(draw.endpoints.iter().map(|e| (*e, draw.affinity)));
        }
        for (target, affinity) in endpoints {
            let chain = self.endpoint_chain(&target, affinity);
            self.plan.chains.push(chain);
        }
        for (name, draw) in draws {
            let chain = self.draw_rules(name, draw);
            self.plan.chains.push(chain);
        }
        self.plan.chains.extend(external.into_iter().chain(firewall));
        self.plan
    }

    fn external_chain(&mut self, routes: &Routes) -> Chain {
        let port = self.chains.port.clone();
        let comment = |what: &str| format!("{what} {port} external destinations");
        let to_cluster = Action::Jump(self.chains.cluster.clone());
        let mark = Rule::jump(MARK_MASQ);
        let mut rules = Vec::new();
        match &routes.outside {
            None => {
                if routes.inside.masquerade != Masquerade::Never {
                    rules.push(mark.comment(&comment("masquerade traffic for")));
                }
            }
            Some(_) => {
                let pods = Rule::always(to_cluster.clone()).comment(&comment("pod traffic for"));
                rules.extend(from_pod(self.settings, true, pods));
                // The address may be the node's own, and then it is the packet's source too.
                let local = |rule: Rule, what: &str| Rule {
                    from_local: Some(true),
                    ..rule.comment(&comment(what))
                };
                rules.push(local(mark, "masquerade LOCAL traffic for"));
                rules.push(local(Rule::always(to_cluster), "route LOCAL traffic for"));
                self.draw(&routes.inside);
            }
        }
        let rest = routes.outside.as_ref().unwrap_or(&routes.inside);
        if !rest.endpoints.is_empty() {
            rules.push(Rule::jump(&self.draw_chain(rest.policy)));
            self.draw(rest);
        }
        Chain { name: self.chains.external.clone(), rules }
    }

    fn firewall_chain(&self, ranges: &[ipnet::IpNet]) -> Chain {
        let comment = format!("{} loadbalancer IP", self.chains.port);
        let let_in = |range: &ipnet::IpNet| Rule {
            source: Some((true, *range)),
            ..Rule::jump(&self.chains.external).comment(&comment)
        };
        let mut rules: Vec<Rule> = ranges.iter().map(let_in).collect();
        rules.push(Rule::default().comment(&format!(
            "other traffic to {} will be dropped by KUBE-PROXY-FIREWALL",
            self.chains.port
        )));
        Chain { name: self.chains.firewall.clone(), rules }
    }

    fn draw_rules(&self, name: String, draw: Draw) -> Chain {
        let go = |target: &Target| {
            let comment = format!("{} -> {target}", self.chains.port);
            Rule::jump(&self.chains.endpoint(target)).comment(&comment)
        };
        let mut rules = draw.masquerade;
        for target in draw.endpoints.iter().filter(|_| draw.affinity.is_some()) {
            rules.push(Rule {
                recent: draw.affinity.map(|affinity| Recent::Check {
                    list: self.chains.endpoint(target),
                    seconds: affinity.timeout_seconds,
                }),
                ..go(target)
            });
        }
        let count = draw.endpoints.len();
        for (index, target) in draw.endpoints.iter().enumerate() {
            let left = count - index;
            rules.push(Rule {
                // Who gets this far is shared evenly among those that are left.
                chance: (left > 1).then(|| Chance::one_of(left)),
                ..go(target)
            });
        }
        Chain { name, rules }
    }

    fn endpoint_chain(&self, target: &Target, affinity: Option<Affinity>) -> Chain {
        let name = self.chains.endpoint(target);
        let rule = |action| Rule::always(action).comment(&self.chains.port);
        let hairpin = Rule {
            source: Some((true, target.address.into())),
            ..rule(Action::Jump(MARK_MASQ.to_owned()))
        };
        let send = Rule {
            protocol: Some(self.protocol),
            recent: affinity.map(|_| Recent::Set { list: name.clone() }),
            ..rule(Action::SendTo(*target))
        };
        Chain { name, rules: vec![hairpin, send] }
    }
}

/// A rule without an action for the packets to a destination; a node port's may have any
/// address.
fn packets_for(to: &Destination) -> Rule {
    let (protocol, port) = to.transport();
    Rule {
        destination: match to {
            Destination::Address { address, .. } => Some((true, (*address).into())),
            Destination::NodePort { .. } => None,
        },
        protocol: Some(protocol),
        port: Some(port),
        ..Rule::default()
    }
}
