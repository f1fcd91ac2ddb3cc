//! What the node must carry: Services and EndpointSlices merged into one answer
//! per destination. Knows no mode, no kernel, and never does I/O.

mod choose;
mod frontend;
mod local;
mod service;
mod slice;
mod source_ranges;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use choose::{Chosen, Place, Prefer, choose, preference};
pub use service::{Ignored, ServiceInfo, ServicePort};
pub use slice::{Endpoint, Hints, SliceInfo};
pub use source_ranges::SourceRanges;

use crate::routes::{Destination, Dirty, Family, RouteTable, Routes};

/// The label that says which zone a node is in.
const ZONE: &str = "topology.kubernetes.io/zone";

/// `namespace/name` of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service's port by name, the unit that endpoints are matched to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePortName {
    /// The Service.
    pub service: ServiceName,
    /// The port's name; empty for a Service's only, unnamed port.
    pub port: String,
}

/// One change as a watch reports it.
#[derive(Clone, Debug)]
pub enum Change {
    /// A Service was added or replaced.
    Service(Box<Service>),
    /// A Service is gone.
    ServiceGone(ServiceName),
    /// An EndpointSlice was added or replaced.
    Slice(Box<EndpointSlice>),
    /// An EndpointSlice (namespace, name) is gone.
    SliceGone(ServiceName),
    /// This proxy's own Node was added or replaced.
    Node(Box<Node>),
}

/// What one Service claims at present, sorted; kept so that a change can be undone. Lists
/// and no trees: there is one for each Service, and they are short.
#[derive(Default)]
struct Claims {
    destinations: Vec<Destination>,
    cluster_ips: Vec<IpAddr>,
    own_endpoints: Vec<IpAddr>,
}

/// Who claims a destination, sorted by name; nearly always one, so a list and no tree.
type Claimants = Vec<(ServicePortName, Routes)>;

/// All Services and EndpointSlices as this node sees them.
pub struct Catalog {
    node_name: String,
    /// The own node's zone; empty where unknown.
    zone: String,
    /// The own node's addresses; empty where unknown.
    addresses: Vec<IpAddr>,
    services: HashMap<ServiceName, ServiceInfo>,
    /// Services that are to be left alone.
    ignored: BTreeMap<ServiceName, Ignored>,
    /// By name; nearly always one, so a list and no tree.
    slices: HashMap<ServiceName, Vec<(String, SliceInfo)>>,
    slice_owner: HashMap<ServiceName, ServiceName>,
    claims: HashMap<ServiceName, Claims>,
    /// Two Services can claim one destination (an external IP): the first by
    /// name has it, and the other takes over when the first is gone.
    routes: HashMap<Destination, Claimants>,
    cluster_ips: HashMap<IpAddr, usize>,
    own_endpoints: HashMap<IpAddr, usize>,
    changed: BTreeSet<ServiceName>,
    /// Those of `changed` that have been computed, for who follows Services.
    recomputed: BTreeSet<ServiceName>,
}

impl Catalog {
    /// An empty catalog for the node called `node_name`.
    pub fn new(node_name: impl Into<String>) -> Self {
        Catalog {
            node_name: node_name.into(),
            zone: String::new(),
            addresses: Vec::new(),
            services: HashMap::new(),
            ignored: BTreeMap::new(),
            slices: HashMap::new(),
            slice_owner: HashMap::new(),
            claims: HashMap::new(),
            routes: HashMap::new(),
            cluster_ips: HashMap::new(),
            own_endpoints: HashMap::new(),
            changed: BTreeSet::new(),
            recomputed: BTreeSet::new(),
        }
    }

    /// Takes one change in. The work is done in [`Catalog::take_dirty`], so a burst
    /// of changes to one Service costs one computation.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Service(service) => {
                let name = service::name_of(&service.metadata);
                match Ignored::from_object(&service) {
                    Some(ignored) => self.ignored.insert(name.clone(), ignored),
                    None => self.ignored.remove(&name),
                };
                match ServiceInfo::from_object(&service) {
                    Some(info) => {
                        if self.services.get(&name) == Some(&info) {
                            return;
                        }
                        self.services.insert(name.clone(), info);
                    }
                    None => {
                        self.services.remove(&name);
                    }
                }
                self.changed.insert(name);
            }
            Change::ServiceGone(name) => {
                self.ignored.remove(&name);
                if self.services.remove(&name).is_some() {
                    self.changed.insert(name);
                }
            }
            Change::Slice(slice) => self.apply_slice(&slice),
            Change::SliceGone(name) => self.forget_slice(&name),
            Change::Node(node) => self.apply_node(&node),
        }
    }

    /// Another zone makes other hints count, for any Service; another address may use
    /// load balancers that it could not.
    fn apply_node(&mut self, node: &Node) {
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        let addresses = addresses.into_iter().flatten();
        let addresses: Vec<IpAddr> = addresses.filter_map(|a| a.address.parse().ok()).collect();
        if addresses != self.addresses {
            self.addresses = addresses;
            let guarded = self.services.iter();
            let guarded = guarded.filter(|(_, info)| info.source_ranges.allowed.is_some());
            self.changed.extend(guarded.map(|(name, _)| name.clone()));
        }
        let labels = node.metadata.labels.as_ref();
        let zone = labels.and_then(|labels| labels.get(ZONE));
        let zone = zone.cloned().unwrap_or_default();
        if zone != self.zone {
            self.zone = zone;
            self.changed.extend(self.services.keys().cloned());
        }
    }

    fn apply_slice(&mut self, slice: &EndpointSlice) {
        let slice_name = service::name_of(&slice.metadata);
        let Some((owner, info)) = SliceInfo::from_object(slice, &self.node_name) else {
            return self.forget_slice(&slice_name);
        };
        if self.slice_owner.get(&slice_name).is_some_and(|was| *was != owner) {
            self.forget_slice(&slice_name);
        }
        let slices = self.slices.entry(owner.clone()).or_default();
        match slices.iter_mut().find(|(name, _)| *name == slice_name.name) {
            Some((_, former)) if *former == info => return,
            Some((_, former)) => *former = info,
            None => {
                slices.reserve_exact(1);
                slices.push((slice_name.name.clone(), info));
            }
        }
        self.slice_owner.insert(slice_name, owner.clone());
        self.changed.insert(owner);
    }

    fn forget_slice(&mut self, slice_name: &ServiceName) {
        let Some(owner) = self.slice_owner.remove(slice_name) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.retain(|(name, _)| *name != slice_name.name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.changed.insert(owner);
    }

    /// Recomputes the Services that changed and says what to look up again.
    pub fn take_dirty(&mut self) -> Dirty {
        let mut dirty = Dirty::default();
        let changed = std::mem::take(&mut self.changed);
        // At first all are new, and a table that grows is written again and again.
        let new = changed.len().saturating_sub(self.claims.len());
        self.claims.reserve(new);
        self.routes.reserve(new);
        for name in &changed {
            self.recompute(name, &mut dirty);
        }
        if self.recomputed.is_empty() {
            self.recomputed = changed;
        } else {
            self.recomputed.extend(changed);
        }
        dirty
    }

    fn recompute(&mut self, name: &ServiceName, dirty: &mut Dirty) {
        let old = self.claims.remove(name).unwrap_or_default();
        let none = Vec::new();
        let slices = self.slices.get(name).unwrap_or(&none);
        let mut new = Claims::default();
        let mut routes: Vec<(Destination, ServicePortName, Routes)> = Vec::new();
        if let Some(info) = self.services.get(name) {
            for port in &info.ports {
                let port_name = ServicePortName { service: name.clone(), port: port.name.clone() };
                let place = self.place();
                for family in [Family::V4, Family::V6] {
                    let endpoints = slice::merge(
                        slices.iter().map(|(_, slice)| slice),
                        (&port.name, port.protocol),
                        family,
                    );
                    new.own_endpoints.extend(
                        endpoints
                            .iter()
                            // With policy `Local` a pod elsewhere that comes by this node's
                            // address is not masqueraded either.
                            .filter(|e| e.may_be_own || info.external_local)
                            .map(|e| e.target.address),
                    );
                    frontend::routes_of(info, port, family, &endpoints, place, |to, route| {
                        routes.push((to, port_name.clone(), route));
                    });
                }
            }
            new.own_endpoints = service::sorted(std::mem::take(&mut new.own_endpoints));
            new.cluster_ips = service::sorted(info.cluster_ips.clone());
        }
        count(&mut self.cluster_ips, &old.cluster_ips, &new.cluster_ips, &mut dirty.cluster_ips);
        count(
            &mut self.own_endpoints,
            &old.own_endpoints,
            &new.own_endpoints,
            &mut dirty.own_endpoints,
        );
        self.claim(name, &old, routes, &mut new, dirty);
        if !new.destinations.is_empty() || !new.cluster_ips.is_empty() {
            self.claims.insert(name.clone(), new);
        }
    }

    /// Replaces the routes of the `old` destinations by `routes`.
    fn claim(
        &mut self,
        service: &ServiceName,
        old: &Claims,
        mut routes: Vec<(Destination, ServicePortName, Routes)>,
        new: &mut Claims,
        dirty: &mut Dirty,
    ) {
        // Stable: of a Service's ports that claim one destination, the first has it.
        routes.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        routes.dedup_by(|(one, ..), (other, ..)| one == other);
        for destination in &old.destinations {
            if routes.binary_search_by(|(wanted, ..)| wanted.cmp(destination)).is_ok() {
                continue;
            }
            if let Some(claimants) = self.routes.get_mut(destination) {
                claimants.retain(|(name, _)| name.service != *service);
                if claimants.is_empty() {
                    self.routes.remove(destination);
                }
            }
            dirty.destinations.insert(destination.clone());
        }
        new.destinations.reserve_exact(routes.len());
        for (destination, port, route) in routes {
            let claimants = self.routes.entry(destination.clone()).or_default();
            claimants.retain(|(name, _)| name.service != port.service || *name == port);
            let is_new = match claimants.binary_search_by(|(name, _)| name.cmp(&port)) {
                Ok(at) if claimants[at].1 == route => false,
                Ok(at) => {
                    claimants[at].1 = route;
                    true
                }
                Err(at) => {
                    claimants.reserve_exact(1);
                    claimants.insert(at, (port, route));
                    true
                }
            };
            if is_new {
                dirty.destinations.insert(destination.clone());
            }
            new.destinations.push(destination);
        }
    }

    /// The routes of a destination and the Service port that has it.
    pub fn claimed(&self, destination: &Destination) -> Option<(&ServicePortName, &Routes)> {
        let (name, routes) = self.routes.get(destination)?.first()?;
        Some((name, routes))
    }

    /// A Service as this proxy sees it; `None` for one that it leaves alone.
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceInfo> {
        self.services.get(name)
    }

    /// Every Service that this proxy carries.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceInfo)> {
        self.services.iter()
    }

    /// The Services that are to be left alone.
    pub fn ignored(&self) -> impl Iterator<Item = (&ServiceName, &Ignored)> {
        self.ignored.iter()
    }

    /// All endpoints of a Service port, usable or not, sorted by address; none where the
    /// Service is not known.
    pub fn endpoints(&self, name: &ServicePortName, family: Family) -> Vec<Endpoint> {
        let ports = self.services.get(&name.service).map(|info| &info.ports);
        let port = ports.and_then(|ports| ports.iter().find(|port| port.name == name.port));
        let Some(port) = port else { return Vec::new() };
        let slices = self.slices.get(&name.service);
        let slices = slices.into_iter().flatten().map(|(_, slice)| slice);
        let port = (&*port.name, port.protocol);
        slice::merge(slices, port, family)
    }

    /// Where this node is.
    pub fn place(&self) -> Place<'_> {
        Place { node_name: &self.node_name, zone: &self.zone, addresses: &self.addresses }
    }
}

impl RouteTable for Catalog {
    fn routes(&self, destination: &Destination) -> Option<&Routes> {
        Some(self.claimed(destination)?.1)
    }

    fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.routes.keys()
    }

    fn is_cluster_ip(&self, address: &IpAddr) -> bool {
        self.cluster_ips.contains_key(address)
    }

    fn cluster_ips(&self) -> impl Iterator<Item = &IpAddr> {
        self.cluster_ips.keys()
    }

    fn is_own_endpoint(&self, address: &IpAddr) -> bool {
        self.own_endpoints.contains_key(address)
    }

    fn own_endpoints(&self) -> impl Iterator<Item = &IpAddr> {
        self.own_endpoints.keys()
    }
}

/// Moves the reference counts from `old` to `new`, each sorted and without duplicates; what
/// came or went is added to `dirty`.
fn count(
    counts: &mut HashMap<IpAddr, usize>,
    old: &[IpAddr],
    new: &[IpAddr],
    dirty: &mut BTreeSet<IpAddr>,
) {
    let is_not_in = |all: &[IpAddr], address: &IpAddr| all.binary_search(address).is_err();
    for address in new.iter().filter(|address| is_not_in(old, address)) {
        let uses = counts.entry(*address).or_default();
        *uses += 1;
        if *uses == 1 {
            dirty.insert(*address);
        }
    }
    for address in old.iter().filter(|address| is_not_in(new, address)) {
        if let Some(uses) = counts.get_mut(address) {
            *uses -= 1;
            if *uses == 0 {
                counts.remove(address);
                dirty.insert(*address);
            }
        }
    }
}
