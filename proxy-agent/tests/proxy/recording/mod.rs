//! Mode `recording`: writes down the routes that it is given, for assertions to read, and
//! puts nothing into the kernel. What it takes to add a mode: this folder, and its line in
//! the list of modes.

mod agent;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use anyhow::Result;
use proxy_agent::catalog::Catalog;
use proxy_agent::mode::{Asked, Counters, Entry, Mode, Section};
use proxy_agent::routes::{Destination, Dirty, Family, RouteTable, Routes};
use proxy_agent::settings::Settings;

/// The mode.
pub const MODE: Entry = Entry {
    name: "recording",
    needs: "nothing",
    open: |settings| Ok(Box::new(Recording { settings })),
    may_lack_family: false,
    cleanup: |_| Ok(false),
    render: |settings, catalog| show(&wanted(settings.family, catalog)),
    notation: None,
    masquerade: Section::Nftables,
    periods: Section::Nftables,
    counters: Counters {
        failures: "sync_proxy_rules_recording_failures",
        cleanup_failures: None,
        refused: None,
    },
};

type Record = BTreeMap<Destination, Routes>;

/// Far longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all families have recorded.
static RECORD: (Mutex<Record>, Condvar) = (Mutex::new(BTreeMap::new()), Condvar::new());

struct Recording {
    settings: Settings,
}

impl Mode for Recording {
    fn name(&self) -> &'static str {
        MODE.name
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn sync(&mut self, catalog: &Catalog, _: &Dirty) -> Result<()> {
        let mut record = RECORD.0.lock().expect("no panic");
        record.retain(|to, _| to.family() != self.settings.family);
        record.extend(wanted(self.settings.family, catalog));
        RECORD.1.notify_all();
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        false
    }

    fn distrust(&mut self) {}

    fn rules_of(&self, asked: &Asked<'_>) -> Vec<String> {
        let record = RECORD.0.lock().expect("no panic");
        let of = record.get_key_value(asked.to).into_iter();
        of.map(|(to, routes)| line(to, routes)).collect()
    }
}

fn wanted(family: Family, catalog: &Catalog) -> Record {
    let of_family = catalog.destinations().filter(|to| to.family() == family);
    of_family.filter_map(|to| Some((to.clone(), catalog.routes(to)?.clone()))).collect()
}

fn line(to: &Destination, routes: &Routes) -> String {
    let to = match to {
        Destination::Address { address, port, .. } => format!("{address} {port}"),
        Destination::NodePort { port, .. } => format!("node port {port}"),
    };
    let endpoints = routes.inside.endpoints.iter();
    let endpoints: String = endpoints.map(|at| format!(" {} {}", at.address, at.port)).collect();
    format!("{to} =>{endpoints}")
}

fn show(record: &Record) -> String {
    let mut text = String::new();
    for (to, routes) in record {
        let _ = writeln!(text, "{}", line(to, routes));
    }
    text
}

/// Waits until this is what is recorded.
fn wait_for(expected: &str) {
    let record = RECORD.0.lock().expect("no panic");
    let others = |record: &mut Record| show(record) != expected;
    let (record, _) = RECORD.1.wait_timeout_while(record, PATIENCE, others).expect("no panic");
    assert_eq!(show(&record), expected);
}
