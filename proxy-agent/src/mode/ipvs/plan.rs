//! What there should be for given addresses. Pure: a catalog and what is installed in,
//! virtual servers and the table's values out; never an operation (that is `diff`'s).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::kernel::Installed;
use super::layout::value_of;
use super::server::{Frontend, MAX_MARKS, Name, RealServer, Scheduling, VirtualServer, mark_of};
use crate::catalog::Catalog;
use crate::nft::guard::Guards;
use crate::nft::scope::Scope;
use crate::nft::set::{Data, Key, SetName};
use crate::routes::{Destination, Dirty, Family, Route, RouteTable, Routes};
use crate::settings::Settings;

/// What there should be at one address, protocol and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The table's value.
    pub value: u32,
    /// The virtual server.
    pub server: VirtualServer,
    /// For packets from outside, where they go elsewhere.
    pub outside: Option<Outside>,
}

/// What there should be for packets from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The table's value.
    pub value: u32,
    /// The mark that leads them to `server`.
    pub mark: u32,
    /// The virtual server.
    pub server: VirtualServer,
}

/// What there should be; other keys are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By address, protocol and port; `None`: nothing.
    pub frontends: BTreeMap<Frontend, Option<Wanted>>,
    /// Who may send there: values of lists of allowed sources.
    pub guards: Vec<Scope>,
    /// Where those values lead.
    pub pick_guards: Vec<Scope>,
    /// Whether the interface has these addresses.
    pub addresses: BTreeMap<IpAddr, bool>,
    /// Whether an endpoint with these addresses may be on this node.
    pub own_endpoints: BTreeMap<IpAddr, bool>,
}

/// The addresses of the node that node ports answer on: not loopback, which IPVS cannot
/// forward from, as upstream.
pub fn node_addresses<'a>(
    settings: &'a Settings,
    own: &'a BTreeSet<IpAddr>,
) -> impl Iterator<Item = IpAddr> + 'a {
    let networks = &settings.node_port_addresses;
    own.iter()
        .filter(|address| networks.is_empty() || networks.iter().any(|n| n.contains(*address)))
        .copied()
}

/// Plans the given keys anew. What is installed matters only for the node's addresses and
/// for who keeps which mark.
pub fn plan(settings: &Settings, catalog: &Catalog, keys: &Dirty, installed: &Installed) -> Plan {
    let family = settings.family;
    let nodes: BTreeSet<IpAddr> = node_addresses(settings, &installed.own).collect();
    let mut frontends = BTreeSet::new();
    for destination in keys.destinations.iter().filter(|d| d.family() == family) {
        let (protocol, port) = destination.transport();
        let at = |address: &IpAddr| Frontend { address: *address, protocol, port };
        match destination {
            Destination::Address { address, .. } => {
                frontends.insert(at(address));
            }
            Destination::NodePort { .. } => frontends.extend(nodes.iter().map(at)),
        }
    }
    plan_frontends(settings, catalog, &nodes, frontends, keys, installed)
}

/// Everything that the catalog has or that is installed: the argument for a full plan.
pub fn plan_all(settings: &Settings, catalog: &Catalog, installed: &Installed) -> Plan {
    let family = settings.family;
    let mut keys = Dirty { cluster_ips: BTreeSet::new(), ..catalog.keys() };
    for set in [SetName::Services, SetName::OutsideServices, SetName::Marks, SetName::Guards] {
        installed.table.elements(set).for_each(|(key, _)| key.note(&mut keys));
    }
    installed.table.elements(SetName::Hairpin).for_each(|(key, _)| key.note(&mut keys));
    let ours = installed.servers.keys().filter_map(|name| match name {
        Name::Frontend(frontend) if is_ours(settings, installed, frontend) => Some(frontend),
        _ => None,
    });
    keys.destinations.extend(ours.map(|frontend| frontend.destination()));
    let mut plan = plan(settings, catalog, &keys, installed);
    let carried = installed.table.elements(SetName::Addresses);
    let carried = carried.filter_map(|(key, _)| match key {
        Key::Address(address) => Some(address),
        _ => None,
    });
    for address in carried.chain(installed.carried.iter().copied()) {
        if Family::of(&address) == family {
            plan.addresses.entry(address).or_insert(false);
        }
    }
    plan
}

/// Whether a virtual server that no Service has is a remainder of ours: an address of the
/// interface is nobody else's.
pub fn is_ours(settings: &Settings, installed: &Installed, frontend: &Frontend) -> bool {
    let key = Key::Destination(frontend.destination());
    let excluded = &settings.ipvs.exclude_cidrs;
    installed.table.get(SetName::Services, &key).is_some()
        || installed.carried.contains(&frontend.address)
            && !excluded.iter().any(|n| n.contains(&frontend.address))
}

fn plan_frontends(
    settings: &Settings,
    catalog: &Catalog,
    nodes: &BTreeSet<IpAddr>,
    frontends: BTreeSet<Frontend>,
    keys: &Dirty,
    installed: &Installed,
) -> Plan {
    let mut plan = Plan::default();
    let mut marks = Marks::new(installed);
    let mut guards = Guards::new(&installed.table);
    for frontend in frontends {
        let routes = routes_of(catalog, nodes, &frontend);
        plan.guards.extend(guards.plan(&frontend.destination(), routes));
        let wanted = routes.map(|routes| wanted(settings, &frontend, routes, &mut marks));
        plan.frontends.insert(frontend, wanted);
    }
    plan.pick_guards = guards.finish();
    let addresses: BTreeSet<IpAddr> = plan.frontends.keys().map(|f| f.address).collect();
    for address in addresses {
        let carried = is_carried(&address, &plan, installed);
        plan.addresses.insert(address, carried);
    }
    let of_family = |address: &&IpAddr| Family::of(address) == settings.family;
    for address in keys.own_endpoints.iter().filter(of_family) {
        let own = catalog.is_own_endpoint(address);
        plan.own_endpoints.insert(*address, own);
    }
    plan
}

/// A Service's own address goes before a node port on the same address.
fn routes_of<'a>(
    catalog: &'a Catalog,
    nodes: &BTreeSet<IpAddr>,
    frontend: &Frontend,
) -> Option<&'a Routes> {
    catalog.routes(&frontend.destination()).or_else(|| {
        let node_port = Destination::NodePort {
            family: Family::of(&frontend.address),
            protocol: frontend.protocol,
            port: frontend.port,
        };
        let routes = catalog.routes(&node_port);
        routes.filter(|_| nodes.contains(&frontend.address))
    })
}

fn wanted(
    settings: &Settings,
    frontend: &Frontend,
    routes: &Routes,
    marks: &mut Marks<'_>,
) -> Wanted {
    let outside = routes.outside.as_ref().and_then(|route| {
        Some(Outside {
            value: value_of(route),
            mark: marks.of(frontend)?,
            server: server(settings, route),
        })
    });
    Wanted { value: value_of(&routes.inside), server: server(settings, &routes.inside), outside }
}

fn server(settings: &Settings, route: &Route) -> VirtualServer {
    let real = RealServer { weight: 1, connections: None };
    VirtualServer {
        scheduling: Scheduling {
            scheduler: settings.ipvs.scheduler.clone(),
            persistent_seconds: route.affinity.map(|affinity| affinity.timeout_seconds),
        },
        reals: route.endpoints.iter().map(|to| (*to, real)).collect(),
    }
}

/// Whether the interface has the address: some Service is there, and it is none of the
/// node's own.
fn is_carried(address: &IpAddr, plan: &Plan, installed: &Installed) -> bool {
    if installed.own.contains(address) || address.is_loopback() {
        return false;
    }
    let range = Frontend::range_of(*address);
    let mut planned = plan.frontends.range(range.clone());
    if planned.any(|(_, wanted)| wanted.is_some()) {
        return true;
    }
    let keys =
        Key::Destination(range.start().destination())..=Key::Destination(range.end().destination());
    let mut others = installed.table.range(SetName::Services, keys);
    others.any(|(key, _)| match key {
        Key::Destination(destination) => {
            let is = |frontend: &Frontend| frontend.destination() == destination;
            !plan.frontends.range(range.clone()).any(|(frontend, _)| is(frontend))
        }
        _ => false,
    })
}

/// Marks given and to give.
struct Marks<'a> {
    installed: &'a Installed,
    /// Made when the first new one is asked for.
    used: Option<BTreeSet<u32>>,
    /// All before this one are used.
    next: u32,
}

impl Marks<'_> {
    fn new(installed: &Installed) -> Marks<'_> {
        Marks { installed, used: None, next: 0 }
    }

    /// The mark that the frontend has, or a free one; `None`: all are used.
    fn of(&mut self, frontend: &Frontend) -> Option<u32> {
        let table = &self.installed.table;
        let key = Key::Destination(frontend.destination());
        if let Some(Data::Value(mark)) = table.get(SetName::Marks, &key) {
            return Some(*mark);
        }
        // One that nobody has may still lead connections to their ends.
        let used = self.used.get_or_insert_with(|| {
            let marks = table.elements(SetName::Marks);
            let marks = marks.filter_map(|(_, data)| match data {
                Data::Value(mark) => Some(*mark),
                _ => None,
            });
            let servers = self.installed.servers.keys().filter_map(|name| match name {
                Name::Mark(_, mark) => Some(*mark),
                Name::Frontend(_) => None,
            });
            marks.chain(servers).collect()
        });
        let free = (self.next..MAX_MARKS).find(|number| !used.contains(&mark_of(*number)))?;
        self.next = free + 1;
        Some(mark_of(free))
    }
}
