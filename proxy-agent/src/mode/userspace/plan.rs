//! The table of listeners: which there ought to be, and which destination leads to
//! which. Pure; never opens a socket, and knows no port but the Services' own.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::balancer::Backends;
use crate::catalog::{Catalog, ServicePortName};
use crate::routes::{
    Destination, Family, Origin, Policy, Protocol, Route, RouteTable, Routes, Unserved,
};

/// A listener: one for each Service port, and another one where some of its
/// destinations may use this node's endpoints only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerName {
    /// The Service's port.
    pub port: ServicePortName,
    /// The protocol.
    pub protocol: Protocol,
    /// The policy that chose the endpoints.
    pub policy: Policy,
}

impl std::fmt::Display for ListenerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.port.service)?;
        if !self.port.port.is_empty() {
            write!(f, ":{}", self.port.port)?;
        }
        let policy = match self.policy {
            Policy::Cluster => "Cluster",
            Policy::Local => "Local",
        };
        write!(f, " {} {policy}", self.protocol)
    }
}

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lead {
    /// To a listener.
    To(ListenerName),
    /// Refused at once: a listener would accept first.
    Reject,
    /// Dropped.
    Drop,
}

/// What becomes of a destination's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Whose it is.
    pub port: ServicePortName,
    /// Where the Service names it.
    pub origin: Origin,
    /// See [`Routes::allowed_sources`].
    pub allowed_sources: Option<Vec<IpNet>>,
    /// For packets from the cluster.
    pub inside: Lead,
    /// For packets from elsewhere; `None`: the same.
    pub outside: Option<Lead>,
}

impl Portal {
    /// Both ways.
    pub fn leads(&self) -> impl Iterator<Item = &Lead> {
        [Some(&self.inside), self.outside.as_ref()].into_iter().flatten()
    }
}

/// A listener's endpoints, and the destinations that need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Where its connections go.
    pub backends: Backends,
    /// Who leads here; never empty.
    pub destinations: BTreeSet<Destination>,
}

/// All of it for one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTable {
    portals: BTreeMap<Destination, Portal>,
    listeners: BTreeMap<ListenerName, Listener>,
}

/// The way of a route. SCTP that would be served is refused: this mode has no listener
/// for it.
fn lead_of(port: &ServicePortName, protocol: Protocol, route: &Route) -> Lead {
    if route.endpoints.is_empty() {
        return match route.unserved {
            Unserved::Reject => Lead::Reject,
            Unserved::Drop => Lead::Drop,
        };
    }
    if protocol == Protocol::Sctp {
        return Lead::Reject;
    }
    Lead::To(ListenerName { port: port.clone(), protocol, policy: route.policy })
}

fn portal_of(destination: &Destination, port: &ServicePortName, routes: &Routes) -> Portal {
    let (protocol, _) = destination.transport();
    let lead = |route| lead_of(port, protocol, route);
    Portal {
        port: port.clone(),
        origin: routes.origin,
        allowed_sources: routes.allowed_sources.clone(),
        inside: lead(&routes.inside),
        outside: routes.outside.as_ref().map(lead),
    }
}

impl ListenerTable {
    /// The whole table of a catalog.
    pub fn of(catalog: &Catalog, family: Family) -> ListenerTable {
        let mut table = ListenerTable::default();
        for destination in catalog.destinations().filter(|d| d.family() == family) {
            table.plan(catalog, destination);
        }
        table
    }

    /// Plans one destination anew. Returns the listeners that it led or leads to: they
    /// may have come, gone or changed.
    pub fn plan(&mut self, catalog: &Catalog, destination: &Destination) -> BTreeSet<ListenerName> {
        let mut touched = BTreeSet::new();
        if let Some(old) = self.portals.remove(destination) {
            for lead in old.leads() {
                if let Lead::To(name) = lead {
                    touched.insert(name.clone());
                    self.leave(name, destination);
                }
            }
        }
        let Some((port, routes)) = catalog.claimed(destination) else {
            return touched;
        };
        let portal = portal_of(destination, port, routes);
        let ways = [Some(&routes.inside), routes.outside.as_ref()];
        for (lead, route) in portal.leads().zip(ways.into_iter().flatten()) {
            if let Lead::To(name) = lead {
                touched.insert(name.clone());
                let listener = self.listeners.entry(name.clone()).or_default();
                listener.destinations.insert(destination.clone());
                listener.backends =
                    Backends { targets: route.endpoints.clone(), affinity: route.affinity };
            }
        }
        self.portals.insert(destination.clone(), portal);
        touched
    }

    fn leave(&mut self, name: &ListenerName, destination: &Destination) {
        if let Some(listener) = self.listeners.get_mut(name) {
            listener.destinations.remove(destination);
            if listener.destinations.is_empty() {
                self.listeners.remove(name);
            }
        }
    }

    /// What becomes of a destination's packets; `None`: nobody claims it.
    pub fn portal(&self, destination: &Destination) -> Option<&Portal> {
        self.portals.get(destination)
    }

    /// A listener that there ought to be.
    pub fn listener(&self, name: &ListenerName) -> Option<&Listener> {
        self.listeners.get(name)
    }

    /// Every destination.
    pub fn portals(&self) -> impl Iterator<Item = (&Destination, &Portal)> {
        self.portals.iter()
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = (&ListenerName, &Listener)> {
        self.listeners.iter()
    }
}
