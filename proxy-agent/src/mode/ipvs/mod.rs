//! Mode `ipvs`: the kernel's load balancer, one virtual server for each address and port
//! of a Service, over netlink. Runs no program, and leaves alone what others have made.
//!
//! An interface `kube-ipvs0` carries the Services' addresses, so that their packets end
//! at this node, where IPVS takes them. A small nftables table does what it cannot:
//! refuse, drop, mark packets from outside, replace the source (`layout`).

pub mod diff;
mod explain;
pub mod kernel;
pub mod layout;
pub mod netlink;
pub mod parameters;
pub mod plan;
pub mod render;
pub mod server;

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use self::kernel::{Installed, Kernel, Op};
use self::server::Name;
use super::{Asked, Counters, Entry, Mode, OnLoopback, Section};
use crate::catalog::Catalog;
use crate::loopback;
use crate::nft::guard;
use crate::routes::{Destination, Dirty, Family, Routes};
use crate::settings::Settings;

pub use render::render;

/// The mode.
pub const MODE: Entry = Entry {
    name: "ipvs",
    needs: "IPVS, dummy interfaces and nf_tables",
    open: |settings| Ok(Box::new(open(settings)?)),
    may_lack_family: true,
    cleanup,
    render,
    notation: Some(("ipvsadm", "As `ipvsadm -Ln` has it: mode ipvs")),
    // What upstream has iptables do is told by its section.
    masquerade: Section::Iptables,
    periods: Section::Ipvs,
    counters: Counters {
        failures: "sync_proxy_rules_iptables_restore_failures",
        cleanup_failures: None,
        refused: None,
    },
};

/// One family's virtual servers.
pub struct Director<K> {
    settings: Settings,
    kernel: K,
    /// The kernel's release: some need other parameters.
    release: String,
    /// `None`: not known, dump before anything else.
    installed: Option<Installed>,
    /// Virtual servers with real ones that get no new connections since the last sweep.
    young: BTreeSet<Name>,
    /// Whether marks and chains may be left that nobody uses.
    unused_unswept: bool,
    full: bool,
}

impl<K: Kernel> Director<K> {
    /// Virtual servers in `kernel`; nothing happens before the first `sync`.
    pub fn new(settings: Settings, kernel: K) -> Director<K> {
        let release = rustix::system::uname().release().to_string_lossy().into();
        Director {
            settings,
            kernel,
            release,
            installed: None,
            young: BTreeSet::new(),
            unused_unswept: false,
            full: true,
        }
    }

    /// The kernel, to look at.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// What is in the kernel, as far as known.
    pub fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    fn commit(&mut self, installed: &mut Installed, ops: &[Op]) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        self.kernel.commit(ops).context("cannot change the virtual servers")?;
        for op in ops {
            installed.apply(op);
            if let Op::SetReal(name, _, 0) = op {
                self.young.insert(*name);
            }
        }
        Ok(())
    }

    /// What is there, and a frame around it.
    fn prepare(&mut self) -> Result<Installed> {
        if let Some(installed) = self.installed.take() {
            return Ok(installed);
        }
        self.full = true;
        let mut installed = self.kernel.dump().context("cannot read the virtual servers")?;
        if installed.table.table && installed.table.sets.len() < layout::SETS.len() {
            // Another layout, or someone removed a set: begin anew.
            let step = vec![crate::nft::ruleset::Op::DeleteTable];
            self.commit(&mut installed, &[Op::Table(step)])?;
        }
        let ops = diff::frame(&self.settings, &self.release, &installed);
        self.commit(&mut installed, &ops)?;
        Ok(installed)
    }

    fn sync_now(&mut self, catalog: &Catalog, dirty: &Dirty) -> Result<()> {
        let mut installed = self.prepare()?;
        let plan = if self.full {
            plan::plan_all(&self.settings, catalog, &installed)
        } else {
            plan::plan(&self.settings, catalog, dirty, &installed)
        };
        let ops = diff::make(&self.settings, &installed, &plan);
        self.commit(&mut installed, &ops)?;
        if self.full {
            // Connections are known from the dump.
            let ops: Vec<Op> = diff::servers_of_ours(&self.settings, &installed)
                .flat_map(|name| diff::drained(&installed, &name))
                .collect();
            self.commit(&mut installed, &ops)?;
        }
        self.unused_unswept |= self.full || !plan.frontends.is_empty();
        self.full = false;
        self.installed = Some(installed);
        Ok(())
    }

    fn sweep_now(&mut self) -> Result<()> {
        let Some(mut installed) = self.installed.take() else {
            return Ok(());
        };
        let mut ops = Vec::new();
        for name in std::mem::take(&mut self.young) {
            let counts = self
                .kernel
                .connections(&name)
                .context("cannot read the connections of a virtual server")?;
            if let Some(server) = installed.servers.get_mut(&name) {
                for (target, real) in &mut server.reals {
                    real.connections = counts.get(target).copied();
                }
            }
            ops.extend(diff::drained(&installed, &name));
        }
        self.commit(&mut installed, &ops)?;
        if std::mem::take(&mut self.unused_unswept) {
            let ops = diff::unused(&installed);
            self.commit(&mut installed, &ops)?;
            // What was slowed down is looked at once more.
            self.unused_unswept = !self.young.is_empty();
        }
        self.installed = Some(installed);
        Ok(())
    }
}

impl<K: Kernel> Mode for Director<K> {
    fn name(&self) -> &'static str {
        MODE.name
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        let installed = self.installed.as_ref();
        installed.map_or_else(Vec::new, |it| explain::server(it, asked))
    }

    fn cannot(&self, destination: &Destination, routes: &Routes) -> Option<&'static str> {
        let ranges = routes.allowed_sources.as_ref();
        if ranges.is_some_and(|ranges| guard::is_too_long(ranges)) {
            return Some(
                "mode ipvs lets in the first 256 of spec.loadBalancerSourceRanges and nobody else",
            );
        }
        let node_port = matches!(destination, Destination::NodePort { .. });
        (node_port && loopback::is_asked_for(&self.settings))
            .then_some("mode ipvs answers on no loopback address")
    }

    fn on_loopback(&self) -> OnLoopback {
        OnLoopback::Never
    }

    fn has_addresses(&self) -> bool {
        true
    }

    fn sync(&mut self, catalog: &Catalog, dirty: &Dirty) -> Result<()> {
        self.sync_now(catalog, dirty)
    }

    fn sweep(&mut self) -> Result<()> {
        self.sweep_now()
    }

    fn needs_sweep(&self) -> bool {
        self.unused_unswept || !self.young.is_empty()
    }

    fn distrust(&mut self) {
        self.installed = None;
    }
}

/// The mode for one family.
///
/// # Errors
/// The kernel has no IPVS, no such scheduler, no `dummy` interfaces or no nf_tables, or
/// does not let this process use them: the message says which, and names the module.
pub fn open(settings: Settings) -> Result<Director<netlink::Netlink>> {
    let mut kernel = netlink::Netlink::open(settings.family)?;
    kernel.probe(&settings.ipvs.scheduler)?;
    Ok(Director::new(settings, kernel))
}

/// Removes the virtual servers, addresses and the table of one family, and the interface
/// with the last address; whether there was any of it. Virtual servers of others stay, but
/// of a kube-proxy that had such an interface those go that are on the node's addresses:
/// upstream's own clean-up takes all there are.
///
/// # Errors
/// The kernel refuses. Where neither interface nor table is there, nothing is asked of
/// IPVS, so that its module is not loaded for nothing.
pub fn cleanup(family: Family) -> Result<bool> {
    if !netlink::has_traces(family)? {
        return Ok(false);
    }
    // Without IPVS there are no virtual servers, but the rest may be there all the same.
    if let Ok(mut kernel) = netlink::Netlink::open(family) {
        let installed = kernel.dump().context("cannot read the virtual servers")?;
        let servers = diff::servers_of_a_proxy(&installed).into_iter();
        let ops: Vec<Op> = servers.map(Op::DeleteServer).collect();
        kernel.commit(&ops).context("cannot remove the virtual servers")?;
    }
    netlink::remove_traces(family).context("cannot remove the interface and the table")?;
    Ok(true)
}
