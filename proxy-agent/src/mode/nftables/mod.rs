//! Mode `nftables`: one table over netlink, laid out so that a change of one
//! endpoint is a change of a few map elements whatever the number of Services.
//! Runs no program, and never flushes anything that is not its own.
//!
//! A packet's way: its destination's *value* is looked up (`value`), the value
//! leads to a chain shared by all destinations with that value, that chain draws a
//! slot, and one chain for all looks destination and slot up: the endpoint.

pub mod diff;
pub mod elements;
pub mod explain;
pub mod guard;
pub mod kernel;
pub mod layout;
mod leaving;
pub mod netlink;
pub mod plan;
pub mod preview;
pub mod render;
pub mod rule;
pub mod ruleset;
pub mod set;
pub mod slots;
pub mod value;

use anyhow::Context;

use self::kernel::{Kernel, Traffic};
use self::leaving::Leaving;
use self::ruleset::{Op, Ruleset, Step};
use super::{Asked, Mode, Settings};
use crate::model::{Destination, Dirty, Family, Model, Routes};

/// Destinations that are planned and committed together: what a plan takes in memory does
/// not grow with the number of Services.
const PART: usize = 1_024;

/// One family's table.
pub struct Table<K> {
    settings: Settings,
    kernel: K,
    /// `None`: not known, dump before anything else.
    installed: Option<Ruleset>,
    /// What is removed once no packet is on its way to it.
    leaving: Leaving,
    full: bool,
    traffic: Traffic,
}

impl<K: Kernel> Table<K> {
    /// A table in `kernel`; nothing happens before the first `sync`.
    pub fn new(settings: Settings, kernel: K) -> Table<K> {
        Table {
            settings,
            kernel,
            installed: None,
            leaving: Leaving::default(),
            full: true,
            traffic: Traffic::default(),
        }
    }

    /// What went to the kernel so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The kernel, to look at.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// What is in the kernel, as far as known.
    pub fn installed(&self) -> Option<&Ruleset> {
        self.installed.as_ref()
    }

    /// Dumps the kernel anew at the next `sync` and repairs what differs.
    pub fn distrust(&mut self) {
        self.installed = None;
    }

    fn commit(&mut self, installed: &mut Ruleset, steps: &[Step]) -> anyhow::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let traffic = self.kernel.commit(steps).context("cannot change the nftables ruleset")?;
        self.traffic += traffic;
        for op in steps.iter().flatten() {
            installed.apply(op);
        }
        Ok(())
    }

    /// The table as it is; from a dump where that is not known.
    fn known(&mut self) -> anyhow::Result<Ruleset> {
        if let Some(installed) = self.installed.take() {
            return Ok(installed);
        }
        self.full = true;
        self.kernel.dump(&self.settings).context("cannot read the nftables ruleset")
    }

    /// All anew, where the table is of another layout or somebody removed a set. One
    /// transaction, so that packets find the old rules or the new: only where the kernel
    /// gives no buffer for it, the rules come back one Service after the other.
    fn rebuild(&mut self, model: &Model) -> anyhow::Result<Ruleset> {
        tracing::info!("the nftables table is of another layout: building it anew");
        let mut fresh = Ruleset::default();
        let frame = diff::frame(&self.settings, &fresh);
        frame.iter().flatten().for_each(|op| fresh.apply(op));
        let keys = plan::all_keys(model, &fresh);
        let scopes = plan::plan(model, self.settings.family, &keys, &fresh);
        let mut first = vec![Op::DeleteTable];
        first.extend(frame.into_iter().flatten());
        let mut steps = vec![first];
        steps.extend(diff::picks(&self.settings, &fresh, &scopes));
        steps.extend(diff::make(&fresh, &scopes));
        let mut installed = Ruleset::default();
        match self.commit(&mut installed, &[steps.concat()]) {
            Err(error) if is_too_large(&error) => {
                installed = Ruleset::default();
                self.commit(&mut installed, &steps)?;
            }
            done => done?,
        }
        Ok(installed)
    }

    fn sync_now(&mut self, model: &Model, dirty: &Dirty) -> anyhow::Result<()> {
        let mut installed = self.known()?;
        if installed.table && installed.sets.len() < set::SETS.len() {
            installed = self.rebuild(model)?;
        }
        if self.full {
            let frame = diff::frame(&self.settings, &installed);
            self.commit(&mut installed, &frame)?;
        }
        let all;
        let keys = if self.full {
            all = plan::all_keys(model, &installed);
            &all
        } else {
            dirty
        };
        if self.full {
            self.leaving = Leaving::default();
        }
        for part in keys.parts(PART) {
            let scopes = plan::plan(model, self.settings.family, &part, &installed);
            let chains = diff::picks(&self.settings, &installed, &scopes);
            self.commit(&mut installed, &chains)?;
            let steps = diff::make(&installed, &scopes);
            self.commit(&mut installed, &steps)?;
            self.leaving.note(&installed, &scopes);
        }
        self.full = false;
        self.installed = Some(installed);
        Ok(())
    }

    fn sweep_now(&mut self) -> anyhow::Result<()> {
        let Some(mut installed) = self.installed.take() else {
            return Ok(());
        };
        let steps = self.leaving.sweep(&self.settings, &installed);
        self.commit(&mut installed, &steps)?;
        self.installed = Some(installed);
        Ok(())
    }
}

fn is_too_large(error: &anyhow::Error) -> bool {
    let kernel = error.downcast_ref::<kernel::KernelError>();
    matches!(kernel, Some(kernel::KernelError::TooLarge(_)))
}

/// Removes the table of one family; whether there was one.
///
/// # Errors
/// The kernel refuses, which a kernel without nf_tables is not counted as.
pub fn cleanup(family: Family) -> anyhow::Result<bool> {
    remove_table(family, layout::TABLE)
}

/// The same for a table of another name.
pub(super) fn remove_table(family: Family, table: &'static str) -> anyhow::Result<bool> {
    let Ok(mut netlink) = netlink::Netlink::open_table(family, table) else {
        return Ok(false);
    };
    match netlink.generation() {
        Ok(_) => {}
        Err(error) if error.is_denied() => {
            return Err(error).context("cannot read nf_tables: this needs CAP_NET_ADMIN");
        }
        Err(_) => return Ok(false),
    }
    let is_there = netlink.dump(&Settings::new(family))?.table;
    if is_there {
        netlink.commit(&[vec![Op::DeleteTable]])?;
    }
    Ok(is_there)
}

impl<K: Kernel> Mode for Table<K> {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cannot(&self, _: &Destination, routes: &Routes) -> Option<&'static str> {
        let ranges = routes.allowed_sources.as_ref()?;
        guard::is_too_long(ranges).then_some(
            "mode nftables lets in the first 256 of spec.loadBalancerSourceRanges and nobody else",
        )
    }

    fn sync(&mut self, model: &Model, dirty: &Dirty) -> anyhow::Result<()> {
        self.sync_now(model, dirty)
    }

    fn sweep(&mut self, _: &Model) -> anyhow::Result<()> {
        self.sweep_now()
    }

    fn needs_sweep(&self) -> bool {
        self.installed.is_some() && !self.leaving.is_empty()
    }

    fn distrust(&mut self) {
        Table::distrust(self);
    }

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        let installed = self.installed.as_ref();
        installed.map_or_else(Vec::new, |it| explain::elements(it, asked))
    }

    fn watched(&self) -> Option<std::os::fd::OwnedFd> {
        self.kernel.watched()
    }

    fn is_disturbed(&mut self) -> bool {
        self.kernel.is_disturbed()
    }
}
