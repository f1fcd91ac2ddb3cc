//! The rules that lead packets to the listeners: the nftables mode's, over a model in
//! which each destination has one endpoint, a listener of this node. So what that mode
//! knows of inside and outside, of source ranges, refusals and drops holds here too.
//! Never looks at a Service's endpoints.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use super::plan::{Lead, ListenerName, ListenerTable, Portal};
use crate::mode::nftables::Table;
use crate::mode::nftables::kernel::Kernel;
use crate::mode::nftables::ruleset::Op;
use crate::mode::{Asked, Mode, Settings};
use crate::model::{
    Destination, Dirty, Masquerade, Model, Origin, Policy, Route, Routes, ServicePortName, Target,
    Unserved,
};

/// One family's rules.
pub struct Rules<K: Kernel> {
    table: Table<K>,
    /// What the rules are made from.
    led: Model,
    /// The listeners' own addresses, that nobody may go to past the rules: refused.
    guards: BTreeMap<Destination, ServicePortName>,
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
            led: Model::new(""),
            guards: BTreeMap::new(),
            begun: false,
        }
    }

    /// The kernel, to look at.
    pub fn kernel(&mut self) -> &mut K {
        self.table.kernel()
    }

    /// Every key that there is a rule for.
    pub fn keys(&self) -> Dirty {
        Dirty {
            destinations: self.led.destinations().cloned().collect(),
            cluster_ips: self.led.cluster_ips().copied().collect(),
            own_endpoints: BTreeSet::new(),
        }
    }

    /// From the next `lead` of the returned key on, packets that come to the listener
    /// by themselves are refused: its Service may not be for everybody.
    pub fn guard(&mut self, name: &ListenerName, at: Target) -> Destination {
        let key = own_address(name, at);
        self.guards.insert(key.clone(), name.port.clone());
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
        std::mem::take(&mut self.guards).into_keys()
    }

    /// Notes where the packets of `keys` are to go; `at` says where a listener is.
    pub fn lead(
        &mut self,
        model: &Model,
        table: &ListenerTable,
        keys: &Dirty,
        at: impl Fn(&ListenerName) -> Option<Target>,
    ) {
        for destination in &keys.destinations {
            let claim = match (table.portal(destination), self.guards.get(destination)) {
                (Some(portal), _) => Some((portal.port.clone(), routes_of(portal, &at))),
                (None, Some(port)) => Some((port.clone(), refusal())),
                (None, None) => None,
            };
            self.led.set_routes(destination, claim);
        }
        for address in &keys.cluster_ips {
            self.led.set_cluster_ip(address, model.is_cluster_ip(address));
        }
    }

    /// Where the packets of a destination are led to.
    pub fn listeners_of(&self, to: &Destination) -> BTreeSet<Target> {
        let routes = self.led.routes(to).into_iter();
        let ways = routes.flat_map(|r| [Some(&r.inside), r.outside.as_ref()]);
        ways.flatten().flat_map(|route| route.endpoints.iter().copied()).collect()
    }

    /// See [`Mode::rules_of`].
    pub fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        self.table.rules_of(asked)
    }

    /// Brings what `lead` noted for `keys` into the kernel.
    pub fn sync(&mut self, keys: &Dirty) -> anyhow::Result<()> {
        self.begun = true;
        self.table.sync(&self.led, keys)
    }

    /// See [`Mode::sweep`].
    pub fn sweep(&mut self) -> anyhow::Result<()> {
        self.table.sweep(&self.led)
    }

    /// See [`Mode::needs_sweep`].
    pub fn needs_sweep(&self) -> bool {
        self.table.needs_sweep()
    }

    /// See [`Mode::distrust`].
    pub fn distrust(&mut self) {
        self.table.distrust();
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
