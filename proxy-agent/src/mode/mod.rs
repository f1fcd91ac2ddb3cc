//! The ways to bring a model into the kernel. A mode is one folder here and a line in
//! each function of this file; it never watches the API and never decides policy.

pub mod iptables;
pub mod ipvs;
pub mod loopback;
pub mod nftables;
mod settings;
pub mod userspace;

use std::collections::BTreeSet;
use std::net::IpAddr;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};

pub use settings::{IpvsSettings, LocalTraffic, Settings};

use crate::model::{Destination, Dirty, Family, Model, Routes, Target};

/// A mode by upstream's name for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeName {
    /// One nftables table, over netlink.
    #[default]
    Nftables,
    /// Chains of iptables rules, by `iptables-restore`.
    Iptables,
    /// The kernel's load balancer, over netlink.
    Ipvs,
    /// Connections that this process takes and carries on.
    Userspace,
}

impl ModeName {
    /// All modes.
    pub const ALL: [ModeName; 4] =
        [ModeName::Nftables, ModeName::Iptables, ModeName::Ipvs, ModeName::Userspace];

    /// The name as `/proxyMode` and the configuration have it.
    pub fn as_str(self) -> &'static str {
        match self {
            ModeName::Nftables => "nftables",
            ModeName::Iptables => "iptables",
            ModeName::Ipvs => "ipvs",
            ModeName::Userspace => "userspace",
        }
    }

    /// The mode with that name.
    pub fn parse(text: &str) -> Option<ModeName> {
        ModeName::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl std::fmt::Display for ModeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A way to bring a model into the kernel.
pub trait Mode: Send {
    /// The name as `/proxyMode` tells it, which is upstream's.
    fn name(&self) -> &'static str;

    /// The settings that it was opened with.
    fn settings(&self) -> &Settings;

    /// Makes packets find what the model says. `dirty` has what changed in the
    /// model since the last call; after an error, and at first, the mode looks at
    /// everything anyway.
    fn sync(&mut self, model: &Model, dirty: &Dirty) -> Result<()>;

    /// Removes what only packets need that were on their way at a `sync` before the
    /// last call. Between two calls [`let_packets_pass`] has begun and ended. Called
    /// while `needs_sweep`, with the model as it was at the last `sync`.
    fn sweep(&mut self, model: &Model) -> Result<()>;

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
    pub model: &'a Model,
    /// What they are for.
    pub to: &'a Destination,
    /// The address that they are sent to; for a node port one of the node's.
    pub address: IpAddr,
    /// They go elsewhere because they come from outside.
    pub outside: bool,
}

/// A mode for one family, ready for its first `sync`.
///
/// # Errors
/// What the mode needs is not there; nothing has been changed then.
pub fn open(mode: ModeName, settings: Settings) -> Result<Box<dyn Mode>> {
    match mode {
        ModeName::Nftables => {
            let mut netlink = nftables::netlink::Netlink::open(settings.family)
                .context("cannot open a netlink socket")?;
            netlink.generation().context(
                "cannot read nf_tables: the kernel needs CONFIG_NF_TABLES and the agent CAP_NET_ADMIN",
            )?;
            loopback::allow(&settings)?;
            Ok(Box::new(nftables::Table::new(settings, netlink)))
        }
        ModeName::Iptables => Ok(Box::new(iptables::open(settings)?)),
        ModeName::Ipvs => Ok(Box::new(ipvs::open(settings)?)),
        ModeName::Userspace => Ok(Box::new(userspace::open(settings, Default::default())?)),
    }
}

/// The mode for each of these settings' families, the primary one first. As upstream, modes
/// `iptables` and `ipvs` do without the other family where only that one does not work here.
///
/// # Errors
/// What the mode needs is not there; nothing has been changed then.
pub fn open_all(mode: ModeName, settings: Vec<Settings>) -> Result<Vec<Box<dyn Mode>>> {
    open_each(mode, settings, open)
}

fn open_each<T>(
    mode: ModeName,
    settings: Vec<Settings>,
    open: impl Fn(ModeName, Settings) -> Result<T>,
) -> Result<Vec<T>> {
    let may_lack = matches!(mode, ModeName::Iptables | ModeName::Ipvs);
    let mut opened = Vec::new();
    for settings in settings {
        let family = settings.family;
        match open(mode, settings) {
            Ok(mode) => opened.push(mode),
            Err(error) if may_lack && !opened.is_empty() => {
                tracing::warn!("mode {mode} goes on without {family}: {error:#}");
            }
            Err(error) => return Err(error.context(format!("mode {mode} with {family}"))),
        }
    }
    Ok(opened)
}

/// What the mode would bring into an empty kernel, in the notation of the tool that
/// shows it there: `nft`, `iptables-save`, `ipvsadm`. Touches nothing.
///
/// # Errors
/// The mode cannot show its plan.
pub fn render(mode: ModeName, settings: &Settings, model: &Model) -> Result<String> {
    match mode {
        ModeName::Nftables => Ok(nftables::preview::render(settings, model)),
        ModeName::Iptables => Ok(iptables::render(settings, model)),
        ModeName::Ipvs => Ok(ipvs::render(settings, model)),
        ModeName::Userspace => Ok(userspace::render(settings, model)),
    }
}

/// Removes all that a mode has ever made in this network namespace for one family,
/// and nothing else; whether there was anything. Where the kernel has not what the mode
/// needs, there is nothing.
pub fn cleanup(mode: ModeName, family: Family) -> Result<bool> {
    match mode {
        ModeName::Nftables => nftables::cleanup(family),
        ModeName::Iptables => iptables::cleanup(family),
        ModeName::Ipvs => ipvs::cleanup(family),
        ModeName::Userspace => userspace::cleanup(family),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::{ModeName, Settings, open_each};
    use crate::model::Family::{self, V4, V6};

    /// The families that are opened where one of them cannot be.
    fn opened(mode: ModeName, broken: Family) -> Option<Vec<Family>> {
        let settings = [V4, V6].map(Settings::new).to_vec();
        let open = |_, settings: Settings| match settings.family {
            family if family == broken => bail!("not here"),
            family => Ok(family),
        };
        open_each(mode, settings, open).ok()
    }

    #[test]
    fn the_secondary_family_may_be_missing_where_it_needs_more_than_the_primary() {
        for mode in [ModeName::Iptables, ModeName::Ipvs] {
            assert_eq!(opened(mode, V6), Some(vec![V4]));
            assert_eq!(opened(mode, V4), None);
        }
        for mode in [ModeName::Nftables, ModeName::Userspace] {
            assert_eq!(opened(mode, V6), None);
        }
    }
}
