//! Mode `nftables`: the table of `dnat` with all of the catalog's destinations, over netlink.
//! Runs no program.

use anyhow::Result;

use super::{Counters, Entry, Mode, Section};
use crate::catalog::Catalog;
use crate::dnat::{Table, preview};
use crate::loopback;
use crate::nft::guard;
use crate::nft::kernel::Kernel;
use crate::nft::netlink::{Netlink, remove_table};
use crate::routes::{Destination, Dirty, Family, Routes};
use crate::settings::Settings;

/// The table's name; families have tables of their own.
pub const TABLE: &str = "coracle-proxy";

/// The mode.
pub const MODE: Entry = Entry {
    name: "nftables",
    needs: "nf_tables",
    open: |settings| Ok(Box::new(open(settings)?)),
    may_lack_family: false,
    cleanup,
    render: |settings, catalog| preview::render(TABLE, settings, catalog),
    notation: Some(("nft", "As `nft list table` has it: mode nftables")),
    masquerade: Section::Nftables,
    periods: Section::Nftables,
    counters: Counters {
        failures: "sync_proxy_rules_nftables_sync_failures",
        cleanup_failures: Some("sync_proxy_rules_nftables_cleanup_failures"),
        refused: None,
    },
};

fn open(settings: Settings) -> Result<Table<Netlink>> {
    let netlink = Netlink::open_usable(settings.family, TABLE)?;
    loopback::allow(&settings)?;
    Ok(Table::new(settings, netlink))
}

/// Removes the table of one family; whether there was one.
///
/// # Errors
/// The kernel refuses, which a kernel without nf_tables is not counted as.
pub fn cleanup(family: Family) -> Result<bool> {
    remove_table(family, TABLE)
}

impl<K: Kernel> Mode for Table<K> {
    fn name(&self) -> &'static str {
        MODE.name
    }

    fn settings(&self) -> &Settings {
        Table::settings(self)
    }

    fn cannot(&self, _: &Destination, routes: &Routes) -> Option<&'static str> {
        let ranges = routes.allowed_sources.as_ref()?;
        guard::is_too_long(ranges).then_some(
            "mode nftables lets in the first 256 of spec.loadBalancerSourceRanges and nobody else",
        )
    }

    fn sync(&mut self, catalog: &Catalog, dirty: &Dirty) -> Result<()> {
        Table::sync(self, catalog, dirty)
    }

    fn sweep(&mut self) -> Result<()> {
        Table::sweep(self)
    }

    fn needs_sweep(&self) -> bool {
        Table::needs_sweep(self)
    }

    fn distrust(&mut self) {
        Table::distrust(self);
    }

    fn rules_of(&self, asked: &super::Asked<'_>) -> Vec<String> {
        self.lines_for(asked.to, asked.outside)
    }

    fn watched(&self) -> Option<std::os::fd::OwnedFd> {
        Table::watched(self)
    }

    fn is_disturbed(&mut self) -> bool {
        Table::is_disturbed(self)
    }
}
