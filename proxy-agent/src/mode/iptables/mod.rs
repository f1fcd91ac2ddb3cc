//! Mode `iptables`: upstream's chains of rules, through the host's `iptables-restore`. Never
//! touches a chain whose name is not kube-proxy's, but for the jumps from base chains.
//!
//! A packet's way: `KUBE-SERVICES` has a rule for each address, which leads to the Service
//! port's chain; that draws an endpoint by chance, and the endpoint's chain does the DNAT.

pub mod batch;
pub mod diff;
mod explain;
pub mod frame;
pub mod names;
pub mod parse;
pub mod plan;
pub mod programs;
mod remove;
pub mod render;
pub mod rule;

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result};

use self::diff::{Installed, Step};
use self::plan::{Basis, Unit};
use self::programs::{Programs, Rules};
use super::{Asked, Counters, Entry, Mode, OnLoopback, Section};
use crate::catalog::{Catalog, ServicePortName};
use crate::loopback;
use crate::routes::{Destination, Dirty, Family, RouteTable, Routes};
use crate::settings::Settings;

pub use remove::remove;
pub use render::render;

/// The mode.
pub const MODE: Entry = Entry {
    name: "iptables",
    needs: "the programs iptables-save and iptables-restore",
    open: |settings| Ok(Box::new(open(settings)?)),
    may_lack_family: true,
    cleanup,
    render,
    notation: Some(("iptables-save", "As `iptables-save` has it: mode iptables")),
    masquerade: Section::Iptables,
    periods: Section::Iptables,
    counters: Counters {
        failures: "sync_proxy_rules_iptables_restore_failures",
        cleanup_failures: None,
        refused: None,
    },
};

/// One family's rules.
pub struct Iptables<R> {
    basis: Basis,
    rules: R,
    /// `None`: not known, look before anything else.
    installed: Option<Installed>,
    /// The kernel's generation when `installed` was known to be all; `None`: others may
    /// have changed something since.
    generation: Option<u32>,
    /// Whether the next `sync` compares everything with what is known.
    all: bool,
    /// Who has each destination in what is installed.
    owners: HashMap<Destination, ServicePortName>,
    /// Transactions so far.
    transactions: usize,
}

impl<R: Rules> Iptables<R> {
    /// Rules in `rules`; nothing happens before the first `sync`.
    pub fn new(settings: Settings, rules: R) -> Iptables<R> {
        Iptables {
            basis: Basis { settings, remembers: rules.remembers() },
            rules,
            installed: None,
            generation: None,
            all: false,
            owners: HashMap::new(),
            transactions: 0,
        }
    }

    /// Where the rules are, to look at.
    pub fn rules(&mut self) -> &mut R {
        &mut self.rules
    }

    /// Whether what is in the kernel is known, so that the next `sync` need not look.
    pub fn knows(&self) -> bool {
        self.installed.is_some()
    }

    /// How many transactions it has made.
    pub fn transactions(&self) -> usize {
        self.transactions
    }

    /// Looks at what is there and repairs all that differs.
    fn sync_all(&mut self, catalog: &Catalog) -> Result<Installed> {
        self.generation = self.rules.generation();
        let text = self.rules.save().context("cannot read the iptables rules")?;
        let found = parse::parse_save(&text).context("cannot read the iptables rules")?;
        let units = plan::all_units(catalog, self.basis.settings.family);
        let plans = self.plans(catalog, units);
        let (installed, steps) = diff::repair(&self.basis.settings, found, plans);
        self.apply(steps)?;
        let of_family = |to: &&Destination| to.family() == self.basis.settings.family;
        let destinations = catalog.destinations().filter(of_family);
        let owners =
            destinations.filter_map(|to| Some((to.clone(), catalog.claimed(to)?.0.clone())));
        self.owners = owners.collect();
        Ok(installed)
    }

    /// Changes what differs from what is known.
    fn sync_known(
        &mut self,
        catalog: &Catalog,
        dirty: &Dirty,
        mut installed: Installed,
    ) -> Result<Installed> {
        let family = self.basis.settings.family;
        let addresses = dirty.cluster_ips.iter();
        let addresses = addresses.filter(|address| Family::of(address) == family);
        let mut units: BTreeSet<Unit> = addresses.copied().map(Unit::ClusterIp).collect();
        for to in dirty.destinations.iter().filter(|to| to.family() == family) {
            let owner = catalog.claimed(to).map(|(owner, _)| owner.clone());
            let former = match owner.clone() {
                Some(owner) => self.owners.insert(to.clone(), owner),
                None => self.owners.remove(to),
            };
            units.extend(owner.into_iter().chain(former).map(Unit::Port));
        }
        if self.all {
            units.extend(plan::all_units(catalog, family));
            units.extend(installed.units.keys().cloned());
        }
        let plans = self.plans(catalog, units);
        let steps = diff::change(&mut installed, plans);
        self.apply(steps)?;
        Ok(installed)
    }

    fn plans(
        &self,
        catalog: &Catalog,
        units: impl IntoIterator<Item = Unit>,
    ) -> Vec<(Unit, plan::UnitPlan)> {
        let plan = |unit| {
            let plan = plan::plan(catalog, &self.basis, &unit);
            (unit, plan)
        };
        units.into_iter().map(plan).collect()
    }

    fn apply(&mut self, steps: Vec<Step>) -> Result<()> {
        let sections = batch::sections(steps, self.rules.limit());
        for input in batch::inputs(&sections) {
            self.rules.restore(&input).context("cannot change the iptables rules")?;
        }
        self.transactions += sections.len();
        // More than these transactions: others were at work, too.
        let now = self.rules.generation();
        let count = u32::try_from(sections.len()).unwrap_or(u32::MAX);
        let expected = self.generation.map(|former| former.wrapping_add(count));
        self.generation = now.filter(|_| now == expected);
        Ok(())
    }
}

/// The programs, once they are known to work here.
///
/// # Errors
/// They are not there, or may not read the rules; node ports are asked for on loopback, and
/// the kernel cannot be told to route it.
pub fn open(mut settings: Settings) -> Result<Iptables<Programs>> {
    let programs = Programs::open(settings.family)?;
    if frame::answers_on_loopback(&settings)
        && let Err(error) = loopback::route()
    {
        if loopback::is_asked_for(&settings) {
            return Err(error);
        }
        tracing::warn!("{error:#}; node ports do not answer on loopback addresses");
        settings.localhost_node_ports = false;
    }
    Ok(Iptables::new(settings, programs))
}

/// Removes kube-proxy's chains and the jumps to them, in one family's tables of every
/// backend that the machine has; whether there were any. Where the machine has no iptables
/// there are none.
///
/// # Errors
/// The rules of a backend cannot be read or changed; those of the other have been removed.
pub fn cleanup(family: Family) -> Result<bool> {
    remove_all(Programs::find_all(family))
}

/// The same for these backends.
pub fn remove_all(backends: Vec<impl Rules>) -> Result<bool> {
    let mut outcome = Ok(false);
    for mut rules in backends {
        outcome = match (outcome, remove(&mut rules)) {
            (Ok(before), Ok(now)) => Ok(before || now),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        };
    }
    outcome
}

impl<R: Rules> Mode for Iptables<R> {
    fn name(&self) -> &'static str {
        MODE.name
    }

    fn settings(&self) -> &Settings {
        &self.basis.settings
    }

    fn sync(&mut self, catalog: &Catalog, dirty: &Dirty) -> Result<()> {
        // After an error nothing is known any more.
        let installed = match self.installed.take() {
            Some(installed) => self.sync_known(catalog, dirty, installed)?,
            None => self.sync_all(catalog)?,
        };
        self.installed = Some(installed);
        self.all = false;
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        false
    }

    fn distrust(&mut self) {
        self.all = true;
        let now = self.rules.generation();
        if now.is_none() || now != self.generation {
            self.installed = None;
        }
    }

    fn on_loopback(&self) -> OnLoopback {
        match frame::answers_on_loopback(&self.basis.settings) {
            true => OnLoopback::ByDefault,
            false => OnLoopback::Never,
        }
    }

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        explain::rules(asked.catalog, &self.basis, asked.to)
    }

    fn cannot(&self, _: &Destination, routes: &Routes) -> Option<&'static str> {
        let is_sticky = routes.inside.affinity.is_some();
        (is_sticky && !self.basis.remembers).then_some(
            "the kernel has no xt_recent: connections of one client are spread like any others",
        )
    }
}
