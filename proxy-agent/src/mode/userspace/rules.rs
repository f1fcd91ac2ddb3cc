//! The rules that lead packets to the listeners: the table of `dnat`, with routes in which
//! each destination has one endpoint, a listener of this node. So what that table knows of
//! inside and outside, of source ranges, refusals and drops holds here too. Never looks at a
//! Service's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context;

use super::plan::{Lead, ListenerName, ListenerTable, Portal};
use crate::dnat::Table;
use crate::nft::kernel::Kernel;
use crate::nft::ruleset::Op;
use crate::routes::{
    Destination, Dirty, Masquerade, Origin, Policy, Route, RouteTable, Routes, Target, Unserved,
};
use crate::settings::Settings;

/// Where packets are led to now.
#[derive(Default)]
struct Leads {
    routes: BTreeMap<Destination, Routes>,
    cluster_ips: BTreeSet<IpAddr>,
}

impl RouteTable for Leads {
    fn routes(&self, to: &Destination) -> Option<&Routes> {
        self.routes.get(to)
    }

    fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.routes.keys()
    }

    fn is_cluster_ip(&self, address: &IpAddr) -> bool {
        self.cluster_ips.contains(address)
    }

    fn cluster_ips(&self) -> impl Iterator<Item = &IpAddr> {
        self.cluster_ips.iter()
    }

    // A listener is no pod: nothing here reaches itself.
    fn is_own_endpoint(&self, _: &IpAddr) -> bool {
        false
    }

    fn own_endpoints(&self) -> impl Iterator<Item = &IpAddr> {
        std::iter::empty()
    }
}

/// One family's rules.
pub struct Rules<K: Kernel> {
    /// What is in the kernel, and how it gets there.
    pub table: Table<K>,
    leads: Leads,
    /// The listeners' own addresses, that nobody may go to past the rules: refused.
    guards: BTreeSet<Destination>,
    /// Something may be in the kernel.
    begun: bool,
}

impl<K: Kernel> Rules<K> {
    /// Nothing happens before the first `sync`.
    pub fn new(settings: &Settings, kernel: K) -> Rules<K> {
        let settings = Settings {
            // The listeners' answers come from this node anyway.
            masquerade_all: false,
            ..settings.clone()
        };
        Rules {
            table: Table::new(settings, kernel),
            leads: Leads::default(),
            guards: BTreeSet::new(),
            begun: false,
        }
    }

    /// Every key that there is a rule for.
    pub fn keys(&self) -> Dirty {
        self.leads.keys()
    }

    /// From the next `lead` of the returned key on, packets that come to the listener
    /// by themselves are refused: its Service may not be for everybody.
    pub fn guard(&mut self, name: &ListenerName, at: Target) -> Destination {
        let key = own_address(name, at);
        self.guards.insert(key.clone());
        key
    }

    /// The end of [`Rules::guard`].
    pub fn unguard(&mut self, name: &ListenerName, at: Target) -> Destination {
        let key = own_address(name, at);
        self.guards.remove(&key);
        key
    }

    /// The end of all of them.
    pub fn take_guards(&mut self) -> impl Iterator<Item = Destination> + use<K> {
        std::mem::take(&mut self.guards).into_iter()
    }

    /// Notes where the packets of `keys` are to go; `at` says where a listener is.
    pub fn lead(
        &mut self,
        catalog: &impl RouteTable,
        table: &ListenerTable,
        keys: &Dirty,
        at: impl Fn(&ListenerName) -> Option<Target>,
    ) {
        for to in &keys.destinations {
            let routes = match table.portal(to) {
                Some(portal) => Some(routes_of(portal, &at)),
                None => self.guards.contains(to).then(refusal),
            };
            match routes {
                Some(routes) => self.leads.routes.insert(to.clone(), routes),
                None => self.leads.routes.remove(to),
            };
        }
        for address in &keys.cluster_ips {
            match catalog.is_cluster_ip(address) {
                true => self.leads.cluster_ips.insert(*address),
                false => self.leads.cluster_ips.remove(address),
            };
        }
    }

    /// Where the packets of a destination are led to.
    pub fn listeners_of(&self, to: &Destination) -> BTreeSet<Target> {
        self.leads.routes.get(to).into_iter().flat_map(Routes::endpoints).collect()
    }

    /// Brings what `lead` noted for `keys` into the kernel.
    pub fn sync(&mut self, keys: &Dirty) -> anyhow::Result<()> {
        self.begun = true;
        self.table.sync(&self.leads, keys)
    }

    /// Removes all of it.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.begun) {
            self.table
                .kernel()
                .commit(&[vec![Op::AddTable, Op::DeleteTable]])
                .context("cannot remove the rules that lead to the listeners")?;
        }
        Ok(())
    }
}

fn own_address(name: &ListenerName, at: Target) -> Destination {
    Destination::Address { address: at.address, protocol: name.protocol, port: at.port }
}

fn routes_of(portal: &Portal, at: &impl Fn(&ListenerName) -> Option<Target>) -> Routes {
    let route = |lead: &Lead| match lead {
        // One that could not be opened is like one without endpoints.
        Lead::To(name) => route_to(at(name), Unserved::Reject),
        Lead::Reject => route_to(None, Unserved::Reject),
        Lead::Drop => route_to(None, Unserved::Drop),
    };
    Routes {
        origin: portal.origin,
        allowed_sources: portal.allowed_sources.clone(),
        inside: route(&portal.inside),
        outside: portal.outside.as_ref().map(route),
    }
}

fn refusal() -> Routes {
    Routes {
        origin: Origin::NodePort,
        allowed_sources: None,
        inside: route_to(None, Unserved::Reject),
        outside: None,
    }
}

fn route_to(listener: Option<Target>, unserved: Unserved) -> Route {
    Route {
        policy: Policy::Cluster,
        endpoints: listener.into_iter().collect(),
        unserved,
        // Never, as far as the listener is concerned: what the rules masquerade comes from
        // this node itself.
        masquerade: Masquerade::Never,
        affinity: None,
    }
}
