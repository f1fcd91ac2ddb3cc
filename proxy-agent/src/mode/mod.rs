//! What a mode is: a way to bring the catalog's routes into the kernel. Each is one folder
//! here, and knows no other; `modes` has the list.

pub mod iptables;
pub mod ipvs;
pub mod nftables;
pub mod userspace;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::catalog::Catalog;
use crate::routes::{Destination, Dirty, Family, Protocol, Routes, Target};
use crate::settings::Settings;

/// All that the agent has to know of a mode before it is opened.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name in the configuration and at `/proxyMode`, which is upstream's.
    pub name: &'static str,
    /// What it needs of the kernel or the machine, in words for an error.
    pub needs: &'static str,
    /// The mode for one family, ready for its first `sync`. An error says what is missing;
    /// nothing has been changed then.
    pub open: fn(Settings) -> Result<Box<dyn Mode>>,
    /// Whether it does without the secondary family where only that one does not work here,
    /// as upstream.
    pub may_lack_family: bool,
    /// Removes all that the mode has ever made in this network namespace for one family,
    /// and nothing else; whether there was anything. Where the kernel has not what the mode
    /// needs, there is nothing.
    pub cleanup: fn(Family) -> Result<bool>,
    /// What the mode would bring into an empty kernel, as text. Touches nothing.
    pub render: fn(&Settings, &Catalog) -> String,
    /// The name of `render`'s notation for `--output`, and what that says in `--help`;
    /// `None`: it has no name.
    pub notation: Option<(&'static str, &'static str)>,
    /// The section of the configuration that `masqueradeBit` and `masqueradeAll` are read
    /// from.
    pub masquerade: Section,
    /// The section that `syncPeriod` and `minSyncPeriod` are read from.
    pub periods: Section,
    /// What it counts beside what every mode does.
    pub counters: Counters,
}

/// A section of a `KubeProxyConfiguration` that is for modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `nftables`
    Nftables,
    /// `iptables`
    Iptables,
    /// `ipvs`
    Ipvs,
}

/// Names of metrics, without the prefix; `None`: not counted.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Rounds that failed.
    pub failures: &'static str,
    /// Removals of what is out of use that failed.
    pub cleanup_failures: Option<&'static str>,
    /// What was turned away at a limit.
    pub refused: Option<&'static str>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.name == other.name
    }
}

impl Eq for Entry {}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Where node ports answer on loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoopback {
    /// Nowhere.
    Never,
    /// On those that `nodePortAddresses` names.
    WhereNamed,
    /// The same; on all where it names none.
    ByDefault,
}

/// A way to bring a catalog into the kernel.
pub trait Mode: Send {
    /// The name as `/proxyMode` tells it, which is upstream's.
    fn name(&self) -> &'static str;

    /// The settings that it was opened with.
    fn settings(&self) -> &Settings;

    /// Makes packets find what the catalog says. `dirty` has what changed in the
    /// catalog since the last call; after an error, and at first, the mode looks at
    /// everything anyway.
    fn sync(&mut self, catalog: &Catalog, dirty: &Dirty) -> Result<()>;

    /// Removes what only packets need that were on their way at a `sync` before the
    /// last call. Between two calls [`let_packets_pass`] has begun and ended. Called
    /// while `needs_sweep`.
    fn sweep(&mut self) -> Result<()>;

    /// Whether `sweep` has something to look at.
    fn needs_sweep(&self) -> bool;

    /// Look at the kernel again at the next `sync`, and repair what differs.
    fn distrust(&mut self);

    /// Becomes readable when somebody else may have changed what this mode has made;
    /// `None`: the mode cannot tell.
    fn watched(&self) -> Option<OwnedFd> {
        None
    }

    /// Whether somebody else has changed it since the mode last looked at all of it.
    fn is_disturbed(&mut self) -> bool {
        false
    }

    /// What of a destination's routes this mode cannot do, and what it does instead, in words
    /// for an Event; `None`: it does all of it.
    fn cannot(&self, _: &Destination, _: &Routes) -> Option<&'static str> {
        None
    }

    /// What takes such packets: rules or elements in the mode's own notation.
    fn rules_of(&self, _: &Asked<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Where node ports answer on the node's IPv4 loopback addresses. IPv6 has nothing like
    /// it: the kernel never routes `::1`.
    fn on_loopback(&self) -> OnLoopback {
        OnLoopback::WhereNamed
    }

    /// Whether it carries this protocol; what it does not is refused.
    fn carries(&self, _: Protocol) -> bool {
        true
    }

    /// Whether the node has the addresses of Services, and so refuses there what is for none
    /// of their ports.
    fn has_addresses(&self) -> bool {
        false
    }

    /// Why an endpoint never sees its client, whatever the route says; `None`: it may.
    fn hides_clients(&self) -> Option<&'static str> {
        None
    }

    /// How much it has turned away at its limits since its start, by what it was: for
    /// metrics. Empty where the mode carries nothing itself.
    fn refusals(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Who answers a destination's packets as far as the kernel's connection tracking
    /// sees it; `None`: the endpoints, or the destination is of the other family.
    fn tracked_as(&self, _: &Destination) -> Option<BTreeSet<Target>> {
        None
    }
}

/// Returns once no packet is on its way that entered the rules before: the kernel's packets
/// hold an RCU read lock, and this waits until all such locks of the moment are given
/// back, also by a processor that a hypervisor has taken away. Takes some milliseconds.
pub fn let_packets_pass() {
    use rustix::thread::{MembarrierCommand, membarrier};
    // Where it is not to be had (`nohz_full`), the interval between sweeps has to do.
    if let Err(error) = membarrier(MembarrierCommand::Global) {
        tracing::debug!(%error, "cannot wait for packets to pass");
    }
}

/// Packets that somebody asks about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// As it was at the last `sync`, or newer.
    pub catalog: &'a Catalog,
    /// What they are for.
    pub to: &'a Destination,
    /// The address that they are sent to; for a node port one of the node's.
    pub address: IpAddr,
    /// They go elsewhere because they come from outside.
    pub outside: bool,
}
