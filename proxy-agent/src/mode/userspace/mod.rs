//! Mode `userspace`, the historic one: a listener for each Service port, whose
//! connections this process takes, gives to endpoints in turn, and copies. Never keeps
//! a client's address, and leaves no rule behind when it ends: one would lead to a
//! listener that is gone.
//!
//! A small table of `dnat` brings packets here: to it each destination has one endpoint, a
//! listener of this node (`rules`).

mod address;
pub mod balancer;
pub mod limits;
pub mod plan;
mod render;
mod rules;
pub mod sockets;
mod tcp;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;

use self::limits::Limits;
use self::plan::{Lead, ListenerName, ListenerTable};
pub use self::render::render;
use self::rules::Rules;
use self::sockets::{NodeSockets, Sockets};
use super::{Asked, Counters, Entry, Mode, Section};
use crate::catalog::Catalog;
use crate::nft::guard;
use crate::nft::kernel::Kernel;
use crate::nft::netlink::{Netlink, remove_table};
use crate::routes::{Destination, Dirty, Family, Policy, Protocol, RouteTable, Routes, Target};
use crate::settings::Settings;

/// The mode.
pub const MODE: Entry = Entry {
    name: "userspace",
    needs: "nf_tables",
    open: |settings| Ok(Box::new(open(settings, Limits::default())?)),
    may_lack_family: false,
    cleanup,
    render,
    notation: None,
    masquerade: Section::Iptables,
    periods: Section::Iptables,
    counters: Counters {
        failures: "sync_proxy_rules_userspace_sync_failures",
        cleanup_failures: None,
        refused: Some("userspace_refused"),
    },
};

/// The name of the table that leads packets to the listeners.
pub const TABLE: &str = "coracle-userspace";

/// One family's listeners and the rules that lead to them.
pub struct Userspace<K: Kernel, S: Sockets> {
    settings: Settings,
    sockets: S,
    rules: Rules<K>,
    table: ListenerTable,
    /// The listeners that are open, and their ports.
    ports: BTreeMap<ListenerName, u16>,
    /// The address that they are bound to.
    address: Option<IpAddr>,
    /// Look at everything at the next `sync`.
    full: bool,
}

/// The mode on this node, within the given limits.
///
/// # Errors
/// The kernel has no nf_tables, or does not let this process use it.
pub fn open(settings: Settings, limits: Limits) -> anyhow::Result<Userspace<Netlink, NodeSockets>> {
    // What a killed agent has left leads to ports that nobody, or anybody, has now.
    cleanup(settings.family).context("cannot remove the rules of a former run")?;
    let netlink = Netlink::open_usable(settings.family, TABLE)?;
    let sockets = NodeSockets::new(limits).context("cannot start the threads that copy")?;
    Ok(Userspace::new(settings, netlink, sockets))
}

/// Removes the rules of one family; whether there were any. Listeners end with the process that has them.
///
/// # Errors
/// The kernel refuses, which a kernel without nf_tables is not counted as.
pub fn cleanup(family: Family) -> anyhow::Result<bool> {
    remove_table(family, TABLE)
}

impl<K: Kernel, S: Sockets> Userspace<K, S> {
    /// A mode on this kernel and these sockets; nothing happens before the first `sync`.
    pub fn new(settings: Settings, kernel: K, sockets: S) -> Userspace<K, S> {
        Userspace {
            rules: Rules::new(&settings, kernel),
            settings,
            sockets,
            table: ListenerTable::default(),
            ports: BTreeMap::new(),
            address: None,
            full: true,
        }
    }

    /// The table of listeners.
    pub fn table(&self) -> &ListenerTable {
        &self.table
    }

    /// The kernel, to look at.
    pub fn kernel(&mut self) -> &mut K {
        self.rules.table.kernel()
    }

    /// The sockets, to look at.
    pub fn sockets(&mut self) -> &mut S {
        &mut self.sockets
    }

    /// The listeners that are open, and their ports.
    pub fn ports(&self) -> impl Iterator<Item = (&ListenerName, u16)> {
        self.ports.iter().map(|(name, port)| (name, *port))
    }

    /// Every key that the catalog or this has.
    fn all_keys(&self, catalog: &Catalog) -> Dirty {
        let mut keys = self.rules.keys();
        keys.extend(catalog.keys());
        keys
    }

    fn of_family(&self, mut keys: Dirty) -> Dirty {
        let family = self.settings.family;
        keys.destinations.retain(|d| d.family() == family);
        keys.cluster_ips.retain(|a| Family::of(a) == family);
        // A listener is no pod: nothing here reaches itself.
        keys.own_endpoints.clear();
        keys
    }

    /// Where the listeners are from now on. On another address all are opened anew.
    fn look_for_address(&mut self, catalog: &Catalog, keys: &mut Dirty) -> anyhow::Result<()> {
        let is_service = |address: &IpAddr| catalog.is_cluster_ip(address);
        let address = self
            .sockets
            .address(self.settings.family, &is_service)
            .context("cannot list this node's addresses")?;
        if address == self.address {
            return Ok(());
        }
        for name in std::mem::take(&mut self.ports).into_keys() {
            self.sockets.close(&name);
        }
        keys.destinations.extend(self.rules.take_guards());
        self.address = address;
        Ok(())
    }

    /// Opens or changes the listeners that there ought to be; says which could not be.
    fn open_listeners(
        &mut self,
        touched: &BTreeSet<ListenerName>,
        keys: &mut Dirty,
    ) -> anyhow::Result<()> {
        let mut result = Ok(());
        let mut homeless = 0;
        for name in touched {
            let Some(listener) = self.table.listener(name) else {
                continue;
            };
            if self.ports.contains_key(name) {
                self.sockets.set(name, &listener.backends);
                continue;
            }
            let Some(address) = self.address else {
                homeless += 1;
                continue;
            };
            match self.sockets.open(name, address, &listener.backends) {
                Ok(port) => {
                    self.ports.insert(name.clone(), port);
                    let at = Target { address, port };
                    keys.destinations.insert(self.rules.guard(name, at));
                }
                Err(error) => {
                    let what = format!("cannot listen for {name}, which is refused meanwhile");
                    result = Err(anyhow::Error::new(error).context(what));
                }
            }
        }
        if homeless > 0 {
            tracing::warn!(
                family = ?self.settings.family,
                "{homeless} Service ports are refused: this node has no address of that family \
                 that pods can reach"
            );
        }
        result
    }

    /// Closes those that nobody leads to any more; returns the keys of their guards.
    fn close_listeners(&mut self, touched: &BTreeSet<ListenerName>) -> BTreeSet<Destination> {
        let mut keys = BTreeSet::new();
        for name in touched {
            if self.table.listener(name).is_none()
                && let Some(port) = self.ports.remove(name)
            {
                self.sockets.close(name);
                if let Some(address) = self.address {
                    keys.insert(self.rules.unguard(name, Target { address, port }));
                }
            }
        }
        keys
    }

    fn sync_now(&mut self, catalog: &Catalog, dirty: &Dirty) -> anyhow::Result<()> {
        let mut keys = if self.full { self.all_keys(catalog) } else { dirty.clone() };
        keys = self.of_family(keys);
        if self.full {
            self.look_for_address(catalog, &mut keys)?;
        }
        let mut touched = BTreeSet::new();
        if self.full {
            // A failed round may have left some that nobody leads to.
            touched.extend(self.ports.keys().cloned());
        }
        for destination in &keys.destinations {
            touched.extend(self.table.plan(catalog, destination));
        }
        let opened = self.open_listeners(&touched, &mut keys);
        self.lead(catalog, &keys)?;
        let unguarded = Dirty { destinations: self.close_listeners(&touched), ..Dirty::default() };
        if !unguarded.is_empty() {
            self.lead(catalog, &unguarded)?;
        }
        opened
    }

    fn lead(&mut self, catalog: &Catalog, keys: &Dirty) -> anyhow::Result<()> {
        let at = |name: &ListenerName| {
            Some(Target { address: self.address?, port: *self.ports.get(name)? })
        };
        self.rules.lead(catalog, &self.table, keys, at);
        self.rules.sync(keys)
    }
}

impl<K: Kernel, S: Sockets> Mode for Userspace<K, S> {
    fn name(&self) -> &'static str {
        MODE.name
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn sync(&mut self, catalog: &Catalog, dirty: &Dirty) -> anyhow::Result<()> {
        let result = self.sync_now(catalog, dirty);
        self.full = result.is_err();
        result
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        self.rules.table.sweep()
    }

    fn needs_sweep(&self) -> bool {
        self.rules.table.needs_sweep()
    }

    fn distrust(&mut self) {
        self.full = true;
        self.rules.table.distrust();
    }

    fn carries(&self, protocol: Protocol) -> bool {
        protocol != Protocol::Sctp
    }

    fn hides_clients(&self) -> Option<&'static str> {
        Some("mode userspace makes a connection of its own")
    }

    fn cannot(&self, to: &Destination, routes: &Routes) -> Option<&'static str> {
        if !self.carries(to.transport().0) {
            return Some("mode userspace has no listeners for SCTP: connections are refused");
        }
        if let Some(ranges) = &routes.allowed_sources
            && guard::is_too_long(ranges)
        {
            return Some(
                "the rules of mode userspace let in the first 256 of \
                 spec.loadBalancerSourceRanges and nobody else",
            );
        }
        let outside = routes.outside.as_ref()?;
        (outside.policy == Policy::Local).then_some(
            "mode userspace cannot keep the client's address, as externalTrafficPolicy Local \
             asks: endpoints of this node alone are used, and they see the node's address",
        )
    }

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        let mut lines = self.rules.table.lines_for(asked.to, asked.outside);
        let portal = self.table.portal(asked.to);
        let lead = portal.map(|portal| match (&portal.outside, asked.outside) {
            (Some(lead), true) => lead,
            _ => &portal.inside,
        });
        if let Some(Lead::To(name)) = lead
            && let (Some(port), Some(address)) = (self.ports.get(name), self.address)
        {
            let at = SocketAddr::new(address, *port);
            lines.push(format!("listener {name} at {at}: endpoints in turn"));
        }
        lines
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.sockets.refusals()
    }

    fn tracked_as(&self, to: &Destination) -> Option<BTreeSet<Target>> {
        (to.family() == self.settings.family).then(|| self.rules.listeners_of(to))
    }
}

impl<K: Kernel, S: Sockets> Drop for Userspace<K, S> {
    /// With the listeners go the rules that lead to them.
    fn drop(&mut self) {
        if let Err(error) = self.rules.remove() {
            tracing::warn!("{error:#}: Services are refused until `proxy-agent` starts again");
        }
    }
}
