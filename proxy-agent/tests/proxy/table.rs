//! One table of packets for every mode, through a tracer over the mode's plan and on the
//! real kernel. The rows are what users may rely on; they name no chain and no map.
//!
//! The node is `node-1` in zone `a`: 192.168.77.11 and 192.168.79.11, fd77::11 and
//! fd79::11. Pods are 10.244.1.x and fd44:1::x here, 10.244.2.x and fd44:2::x on
//! `node-2`, which is 192.168.77.12 and fd77::12. 192.168.78.2 and fd78::2 are outside.
//! Endpoints answer at 8080 and 9090 over TCP, at 8080 and 5353 over UDP, at any port
//! over SCTP.

mod cluster_ip;
mod external;
mod policy;

use std::collections::BTreeSet;

use ipnet::IpNet;
use proxy_agent::catalog::{Catalog, Change};
use proxy_agent::mode::Mode;
use proxy_agent::modes::{self, MODES};
use proxy_agent::routes::{Dirty, Family};
use proxy_agent::settings::{LocalTraffic, Settings};

use super::network::{self, Network};
use super::objects;
use super::packet::{Outcome, Packet, Row, rows};

/// Objects, settings, and what becomes of packets then.
pub struct Group {
    /// What the rows have in common.
    pub name: &'static str,
    /// What differs from `settings_of`.
    pub settings: fn(&mut Settings),
    /// As `objects::changes` reads them.
    pub objects: &'static str,
    /// As `packet::rows` reads them.
    pub rows: &'static str,
    /// The modes that cannot do this at all, and why not.
    pub cannot: &'static [(&'static str, &'static str)],
}

impl Group {
    /// Rows with the usual settings, for every mode.
    const fn new(name: &'static str, objects: &'static str, rows: &'static str) -> Group {
        Group { name, settings: |_| {}, objects, rows, cannot: &[] }
    }

    const fn with(mut self, settings: fn(&mut Settings)) -> Group {
        self.settings = settings;
        self
    }

    const fn not_in(mut self, modes: &'static [(&'static str, &'static str)]) -> Group {
        self.cannot = modes;
        self
    }

    /// The settings of one family.
    pub fn settings_of(&self, family: Family) -> Settings {
        let mut settings = settings_of(family);
        (self.settings)(&mut settings);
        settings
    }

    fn rows_for(&self, mode: &'static str) -> Vec<Row> {
        if self.cannot.iter().any(|(cannot, _)| *cannot == mode) {
            return Vec::new();
        }
        rows(self.rows)
    }
}

/// The whole table.
pub fn groups() -> impl Iterator<Item = &'static Group> {
    [cluster_ip::GROUPS, policy::GROUPS, external::GROUPS].into_iter().flatten()
}

/// The usual settings for IPv4.
pub fn settings() -> Settings {
    settings_of(Family::V4)
}

/// The usual settings.
pub fn settings_of(family: Family) -> Settings {
    let pods = match family {
        Family::V4 => "10.244.0.0/16",
        Family::V6 => "fd44::/16",
    };
    Settings {
        local_traffic: LocalTraffic::Network(pods.parse().expect("a network")),
        localhost_node_ports: false,
        ..Settings::new(family)
    }
}

/// The mode with this name, on this machine.
pub fn open(mode: &str, settings: Settings) -> Box<dyn Mode> {
    let mode = modes::find(MODES, mode).expect("a mode");
    (mode.open)(settings).expect("a mode that works here")
}

/// Those of the networks that are of this family.
fn networks(family: Family, texts: &[&str]) -> Vec<IpNet> {
    let networks = texts.iter().map(|text| text.parse().expect("a network"));
    networks.filter(|network: &IpNet| Family::of(&network.addr()) == family).collect()
}

/// A catalog of `node-1` with these objects.
pub fn catalog_of(changes: Vec<Change>) -> Catalog {
    let mut catalog = Catalog::new("node-1");
    for change in changes {
        catalog.apply(change);
    }
    catalog
}

#[test]
fn the_table_is_large_and_of_both_families() {
    let all: Vec<Row> = groups().flat_map(|group| rows(group.rows)).collect();
    let of = |family| {
        let rows = all.iter().filter(|row| row.packet.family() == family);
        rows.count()
    };
    assert!(all.len() >= 150, "{} rows", all.len());
    assert!(of(Family::V6) >= 50, "{} for IPv6", of(Family::V6));
}

/// Every row, as a tracer finds what may become of its packet. `plan` is called for each
/// group and family, and makes the tracer over what the mode would program.
pub fn check_traced<T>(mode: &'static str, mut plan: impl FnMut(Settings, &Catalog, &Dirty) -> T)
where
    T: FnMut(&Packet) -> BTreeSet<Outcome>,
{
    let mut wrong = String::new();
    for group in groups() {
        let mut catalog = catalog_of(objects::changes(group.objects));
        let dirty = catalog.take_dirty();
        for family in [Family::V4, Family::V6] {
            let mut outcomes = plan(group.settings_of(family), &catalog, &dirty);
            let rows = group.rows_for(mode).into_iter();
            for row in rows.filter(|row| row.packet.family() == family) {
                let outcomes = outcomes(&row.packet);
                if outcomes != row.outcomes(mode) {
                    wrong += &format!("{}: {}\n    but {outcomes:?}\n", group.name, row.text);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A cluster IP answers on its Services' ports and to nothing else. `test` is the calling
/// test's whole name.
pub fn check_ping_in_kernel(test: &str, mode: &'static str) {
    network::in_namespaces(test, || {
        let network = Network::new();
        let objects = "
            svc web 10.96.0.10,fd96::10 80/tcp node-port=30010
            ep web 10.244.1.12:8080 node-1
            ep web [fd44:1::12]:8080 node-1";
        let mut catalog = catalog_of(objects::changes(objects));
        let dirty = catalog.take_dirty();
        let open = |family| open(mode, settings_of(family));
        let mut modes = [Family::V4, Family::V6].map(open);
        for mode in &mut modes {
            mode.sync(&catalog, &dirty).expect("synced");
        }
        for (source, to, answers) in [
            ("10.244.1.11", "10.244.1.12", true),
            ("10.244.1.11", "10.96.0.10", false),
            ("192.168.77.11", "10.96.0.10", false),
            ("192.168.78.2", "10.96.0.10", false),
            ("192.168.78.2", "192.168.77.11", true),
            ("fd44:1::11", "fd44:1::12", true),
            ("fd44:1::11", "fd96::10", false),
            ("fd77::11", "fd96::10", false),
        ] {
            let is_answered = network.is_pinged(source, to, answers);
            assert_eq!(is_answered, answers, "{source} pings {to}");
        }
    });
}

/// Every row, with packets through what the mode has programmed for both families. Each
/// group finds what the former one has left, as an agent does that starts anew. `test` is
/// the calling test's whole name.
pub fn check_in_kernel(test: &str, mode: &'static str) {
    network::in_namespaces(test, || {
        check_installed(mode, |settings, catalog, dirty| {
            let mut mode = open(mode, settings);
            mode.sync(catalog, dirty).expect("synced");
            while mode.needs_sweep() {
                mode.sweep().expect("swept");
            }
            mode
        });
    });
}

/// Every row, with packets through what `install` puts there for each group and family;
/// what it returns lives as long as the group's packets.
pub fn check_installed<T>(
    mode: &'static str,
    mut install: impl FnMut(Settings, &Catalog, &Dirty) -> T,
) {
    let network = Network::new();
    let mut wrong = String::new();
    for group in groups() {
        let rows = group.rows_for(mode);
        if rows.is_empty() {
            continue;
        }
        let mut catalog = catalog_of(objects::changes(group.objects));
        let dirty = catalog.take_dirty();
        let installed = [Family::V4, Family::V6]
            .map(|family| install(group.settings_of(family), &catalog, &dirty));
        for row in rows {
            if let Err(but) = network.check(&row, mode) {
                wrong += &format!("{}: {}\n    but {but}\n", group.name, row.text);
            }
        }
        // A mode that serves by itself ends here.
        drop(installed);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
