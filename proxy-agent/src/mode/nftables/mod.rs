//! Mode `nftables`: one table over netlink, laid out so that a change of one
//! endpoint is a change of a few map elements whatever the number of Services.
//! Runs no program, and never flushes anything that is not its own.
//!
//! A packet's way: its destination's *value* is looked up (`value`), the value
//! leads to a chain shared by all destinations with that value, that chain draws a
//! slot, and one chain for all looks destination and slot up: the endpoint.

pub mod diff;
pub mod explain;
pub mod guard;
pub mod kernel;
pub mod layout;
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
use self::ruleset::{Op, Ruleset, Step};
use super::{Asked, Mode, Settings};
use crate::model::{Destination, Dirty, Family, Model, Routes};

/// One family's table.
pub struct Table<K> {
    settings: Settings,
    kernel: K,
    /// `None`: not known, dump before anything else.
    installed: Option<Ruleset>,
    /// Touched since the last sweep: packets may be on their way.
    young: Dirty,
    /// Touched before the last sweep.
    old: Dirty,
    /// Whether values that nobody has any more may have left chains behind.
    picks_unswept: bool,
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
            young: Dirty::default(),
            old: Dirty::default(),
            picks_unswept: false,
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
        let traffic = self
            .kernel
            .commit(steps)
            .context("cannot change the nftables ruleset")?;
        self.traffic += traffic;
        for op in steps.iter().flatten() {
            installed.apply(op);
        }
        Ok(())
    }

    /// The table as it is, and a frame around it.
    fn prepare(&mut self) -> anyhow::Result<Ruleset> {
        if let Some(installed) = self.installed.take() {
            return Ok(installed);
        }
        self.full = true;
        let mut installed = self
            .kernel
            .dump(&self.settings)
            .context("cannot read the nftables ruleset")?;
        let mut steps = Vec::new();
        if installed.table && installed.sets.len() < set::SETS.len() {
            // Another layout, or someone removed a set: begin anew, in one step.
            installed = Ruleset::default();
            steps.push(vec![Op::DeleteTable]);
        }
        steps.extend(diff::frame(&self.settings, &installed));
        let step: Step = steps.into_iter().flatten().collect();
        if !step.is_empty() {
            self.commit(&mut installed, &[step])?;
        }
        Ok(installed)
    }

    fn sync_now(&mut self, model: &Model, dirty: &Dirty) -> anyhow::Result<()> {
        let mut installed = self.prepare()?;
        let all;
        let keys = if self.full {
            all = plan::all_keys(model, &installed);
            &all
        } else {
            dirty
        };
        let scopes = plan::plan(model, self.settings.family, keys, &installed);
        let steps = diff::make(&self.settings, &installed, &scopes);
        self.commit(&mut installed, &steps)?;
        self.young.extend(keys.clone());
        self.picks_unswept = true;
        self.full = false;
        self.installed = Some(installed);
        Ok(())
    }

    fn sweep_now(&mut self, model: &Model) -> anyhow::Result<()> {
        let Some(mut installed) = self.installed.take() else {
            return Ok(());
        };
        self.old.remove_all(&self.young);
        let scopes = plan::plan(model, self.settings.family, &self.old, &installed);
        let mut steps = diff::sweep(&installed, &scopes);
        if self.young.is_empty() {
            steps.extend(diff::sweep_picks(&self.settings, &installed));
        }
        self.commit(&mut installed, &steps)?;
        self.picks_unswept &= !self.young.is_empty();
        self.old = std::mem::take(&mut self.young);
        self.installed = Some(installed);
        Ok(())
    }
}

/// Removes the table of one family, where there is one.
///
/// # Errors
/// The kernel refuses, which a kernel without nf_tables is not counted as.
pub fn cleanup(family: Family) -> anyhow::Result<()> {
    remove_table(family, layout::TABLE)
}

/// The same for a table of another name.
pub(super) fn remove_table(family: Family, table: &'static str) -> anyhow::Result<()> {
    let Ok(mut netlink) = netlink::Netlink::open_table(family, table) else {
        return Ok(());
    };
    if netlink.generation().is_err() {
        return Ok(());
    }
    if netlink.dump(&Settings::new(family))?.table {
        netlink.commit(&[vec![Op::DeleteTable]])?;
    }
    Ok(())
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

    fn sweep(&mut self, model: &Model) -> anyhow::Result<()> {
        self.sweep_now(model)
    }

    fn needs_sweep(&self) -> bool {
        self.picks_unswept || !self.young.is_empty() || !self.old.is_empty()
    }

    fn distrust(&mut self) {
        Table::distrust(self);
    }

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        let installed = self.installed.as_ref();
        installed.map_or_else(Vec::new, |it| explain::elements(it, asked))
    }
}
