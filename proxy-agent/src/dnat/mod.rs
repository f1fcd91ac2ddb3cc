//! The nftables table that leads destinations to their endpoints, laid out so that a change
//! of one endpoint is a change of a few map elements whatever the number of destinations.
//! Mode `nftables` loads it with the catalog's routes, mode `userspace` with those to its
//! listeners. Never flushes anything that is not its own.
//!
//! A packet's way: its destination's *value* is looked up (`value`), the value
//! leads to a chain shared by all destinations with that value, that chain draws a
//! slot, and one chain for all looks destination and slot up: the endpoint.

pub mod diff;
mod explain;
pub mod layout;
mod leaving;
pub mod plan;
pub mod preview;
pub mod slots;
pub mod value;

use std::os::fd::OwnedFd;

use anyhow::Context;

use self::leaving::Leaving;
use crate::nft::kernel::{Kernel, KernelError, Traffic};
use crate::nft::ruleset::{Op, Ruleset, Step};
use crate::nft::set::SETS;
use crate::routes::{Destination, Dirty, RouteTable};
use crate::settings::Settings;

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

    /// The settings that it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
        self.kernel.dump().context("cannot read the nftables ruleset")
    }

    /// All anew, where the table is of another layout or somebody removed a set. One
    /// transaction, so that packets find the old rules or the new: only where the kernel
    /// gives no buffer for it, the rules come back one Service after the other.
    fn rebuild(&mut self, routes: &impl RouteTable) -> anyhow::Result<Ruleset> {
        tracing::info!("the nftables table is of another layout: building it anew");
        let mut fresh = Ruleset::default();
        let frame = diff::frame(&self.settings, &fresh);
        frame.iter().flatten().for_each(|op| fresh.apply(op));
        let scopes = plan::plan(routes, self.settings.family, &routes.keys(), &fresh);
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

    /// Makes packets find what `routes` says. `dirty` has what changed there since the last
    /// call; after an error, and at first, everything is looked at anyway.
    ///
    /// # Errors
    /// The kernel cannot be read or changed: former rules stay.
    pub fn sync(&mut self, routes: &impl RouteTable, dirty: &Dirty) -> anyhow::Result<()> {
        let mut installed = self.known()?;
        if installed.table && installed.sets.len() < SETS.len() {
            installed = self.rebuild(routes)?;
        }
        if self.full {
            let frame = diff::frame(&self.settings, &installed);
            self.commit(&mut installed, &frame)?;
        }
        let all;
        let keys = if self.full {
            all = plan::all_keys(routes, &installed);
            &all
        } else {
            dirty
        };
        if self.full {
            self.leaving = Leaving::default();
        }
        for part in keys.parts(PART) {
            let scopes = plan::plan(routes, self.settings.family, &part, &installed);
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

    /// Removes what only packets need that were on their way at a `sync` before the last
    /// call.
    ///
    /// # Errors
    /// The kernel cannot be changed.
    pub fn sweep(&mut self) -> anyhow::Result<()> {
        let Some(mut installed) = self.installed.take() else {
            return Ok(());
        };
        let steps = self.leaving.sweep(&self.settings, &installed);
        self.commit(&mut installed, &steps)?;
        self.installed = Some(installed);
        Ok(())
    }

    /// Whether `sweep` has something to look at.
    pub fn needs_sweep(&self) -> bool {
        self.installed.is_some() && !self.leaving.is_empty()
    }

    /// The elements that take a destination's packets, those from `outside` or the others,
    /// one a line.
    pub fn lines_for(&self, to: &Destination, outside: bool) -> Vec<String> {
        let installed = self.installed.as_ref();
        installed.map_or_else(Vec::new, |it| explain::elements(it, to, outside))
    }

    /// Becomes readable when somebody else may have changed the table.
    pub fn watched(&self) -> Option<OwnedFd> {
        self.kernel.watched()
    }

    /// Whether somebody else has changed it since it was last looked at whole.
    pub fn is_disturbed(&mut self) -> bool {
        self.kernel.is_disturbed()
    }
}

fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(KernelError::TooLarge(_)))
}
