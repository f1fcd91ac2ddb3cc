//! Random histories of random objects: whichever way a state was reached, every mode does
//! to every packet what the reference says, and the tables are the same.
//!
//! `CORACLE_SEED=N` begins with another seed, and `CORACLE_HISTORIES=1` stops after it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use proxy_agent::catalog::{Catalog, Change};
use proxy_agent::dnat::Table;
use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::Iptables;
use proxy_agent::mode::ipvs::Director;
use proxy_agent::routes::{Dirty, Family, Protocol};
use proxy_agent::settings::{LocalTraffic, Settings};

use super::generate::Generator;
use super::histories::normal;
use super::iptables::memory::Memory;
use super::ipvs_memory::MemoryServers;
use super::memory_kernel::MemoryKernel;
use super::network::{interface_of, node_addresses};
use super::packet::{Outcome, PROXY, Packet};
use super::reference::Cluster;
use super::table::settings_of;
use super::tracer::Tracer;
use super::{iptables, userspace};

const HISTORIES: u64 = 10_000;
/// Changes before the first sync, and steps after it.
const FIRST_CHANGES: u64 = 12;
const MAX_STEPS: u64 = 20;
const PACKETS: usize = 16;
/// All modes are looked at after one history in so many of each family, mode nftables
/// after each.
const ALL_MODES_EVERY: u64 = 4;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What a mode's plan for a catalog does to a packet.
type Outcomes = Box<dyn FnMut(&Packet) -> BTreeSet<Outcome>>;

/// Makes a mode's plan for a catalog.
type Plan = fn(&Settings, &Catalog) -> Outcomes;

/// Every mode, as a tracer over its plan: one line each.
const MODES: [(&str, Plan); 4] =
    [("nftables", nftables), ("iptables", iptables), ("ipvs", ipvs), ("userspace", userspace)];

fn nftables(settings: &Settings, catalog: &Catalog) -> Outcomes {
    let mut table = Table::new(settings.clone(), MemoryKernel::default());
    table.sync(catalog, &Dirty::default()).expect("synced");
    let node = node_addresses();
    Box::new(move |packet| trace(&mut table, &node, packet))
}

fn iptables(settings: &Settings, catalog: &Catalog) -> Outcomes {
    let mut mode = Iptables::new(settings.clone(), Memory::default());
    mode.sync(catalog, &Dirty::default()).expect("synced");
    let tracer = iptables::tracer::Tracer::new(mode.rules(), node_addresses(), interface_of);
    Box::new(move |packet| tracer.outcomes(packet))
}

fn ipvs(settings: &Settings, catalog: &Catalog) -> Outcomes {
    let own = node_addresses().into_iter();
    let own: Vec<_> = own.filter(|a| Family::of(a) == settings.family).collect();
    let mut director = Director::new(settings.clone(), MemoryServers::of_node(&own));
    director.sync(catalog, &Dirty::default()).expect("synced");
    let kernel = director.kernel().clone();
    Box::new(move |packet| kernel.outcomes(packet))
}

fn userspace(settings: &Settings, catalog: &Catalog) -> Outcomes {
    let mut mode = userspace::packets::synced(settings.clone(), catalog, &Dirty::default());
    Box::new(move |packet| userspace::packets::outcomes(&mut mode, packet))
}

/// Every outcome that chance allows, each time for a client that is new.
fn trace(table: &mut Table<MemoryKernel>, node: &[IpAddr], packet: &Packet) -> BTreeSet<Outcome> {
    let kernel = &*table.kernel();
    let mut outcomes = BTreeSet::new();
    for random in 0.. {
        let mut tracer = Tracer { kernel, node_addresses: node, remembered: Default::default() };
        let (outcome, modulus) = tracer.trace(packet, random);
        outcomes.insert(outcome);
        if random + 1 >= modulus {
            break;
        }
    }
    outcomes
}

/// What a mode makes of it that cannot do it, as the packet table has it.
fn row_of(
    packet: &Packet,
    wanted: &BTreeSet<Outcome>,
    mode: &str,
    cluster: &Cluster,
) -> BTreeSet<Outcome> {
    let instead = |outcome: &Outcome| match (mode, outcome) {
        // The node has the address itself, and nobody listens.
        ("ipvs", Outcome::Untouched) if cluster.is_claimed(&packet.destination) => Outcome::Reject,
        ("userspace", Outcome::Endpoint { .. }) if packet.protocol == Protocol::Sctp => {
            Outcome::Reject
        }
        // The endpoint sees the proxy's own connection, whoever the client was.
        ("userspace", Outcome::Endpoint { target, .. }) => {
            Outcome::Endpoint { target: *target, masquerade: !packet.is_from(&PROXY) }
        }
        (_, outcome) => outcome.clone(),
    };
    wanted.iter().map(instead).collect()
}

/// The world so far, seen three ways.
struct World {
    generator: Generator,
    cluster: Cluster,
    catalog: Catalog,
    changes: Vec<Change>,
    /// One family's; which one, changes with the seed.
    settings: Settings,
    all_modes: bool,
    table: Table<MemoryKernel>,
    dirty: Dirty,
}

/// How often packets came to what: so that it is seen that all kinds were tried.
#[derive(Debug, Default)]
struct Tally {
    endpoint: usize,
    masqueraded: usize,
    reject: usize,
    drop: usize,
    untouched: usize,
}

impl Tally {
    fn add(&mut self, outcomes: &BTreeSet<Outcome>) {
        for outcome in outcomes {
            *match outcome {
                Outcome::Endpoint { masquerade: false, .. } => &mut self.endpoint,
                Outcome::Endpoint { .. } => &mut self.masqueraded,
                Outcome::Reject => &mut self.reject,
                Outcome::Drop => &mut self.drop,
                Outcome::Untouched => &mut self.untouched,
            } += 1;
        }
    }
}

impl World {
    fn new(seed: u64) -> World {
        let settings = settings_of(FAMILIES[seed as usize % FAMILIES.len()]);
        let pods = FAMILIES.map(|family| match settings_of(family).local_traffic {
            LocalTraffic::Network(pods) => pods,
            other => panic!("no network: {other:?}"),
        });
        World {
            generator: Generator::new(seed),
            cluster: Cluster::new("node-1", node_addresses(), pods.to_vec()),
            catalog: Catalog::new("node-1"),
            changes: Vec::new(),
            table: Table::new(settings.clone(), MemoryKernel::default()),
            settings,
            all_modes: (seed / FAMILIES.len() as u64).is_multiple_of(ALL_MODES_EVERY),
            dirty: Dirty::default(),
        }
    }

    fn change(&mut self) {
        let change = self.generator.change();
        self.cluster.apply(&change);
        self.changes.push(change.clone());
        self.catalog.apply(change);
    }

    fn sync(&mut self) {
        self.dirty.extend(self.catalog.take_dirty());
        self.table.sync(&self.catalog, &self.dirty).expect("synced");
        self.dirty = Dirty::default();
    }

    /// The agent is killed in the middle of a transaction, and begins anew.
    fn kill(&mut self) {
        self.dirty.extend(self.catalog.take_dirty());
        self.table.kernel().steps_left = Some(self.generator.below(16) as usize);
        let _ = self.table.sync(&self.catalog, &self.dirty);
        let mut kernel = self.table.kernel().clone();
        kernel.steps_left = None;
        self.table = Table::new(self.settings.clone(), kernel);
        let all = Dirty::default();
        self.table.sync(&self.catalog, &all).expect("repaired");
        self.dirty = Dirty::default();
    }

    fn step(&mut self) {
        match self.generator.below(12) {
            0..8 => self.change(),
            8..10 => self.sync(),
            10 => self.table.sweep().expect("swept"),
            _ => self.kill(),
        }
    }

    fn settle(&mut self) {
        self.sync();
        settle(&mut self.table);
    }

    /// Every mode against the reference, and the table that the history has made.
    fn check_packets(&mut self, tally: &mut Tally) -> Result<(), String> {
        let node = node_addresses();
        let mut modes: Vec<_> = MODES
            .iter()
            .filter(|_| self.all_modes)
            .map(|(name, plan)| (*name, plan(&self.settings, &self.catalog)))
            .collect();
        for _ in 0..PACKETS {
            let packet = self.generator.packet(self.settings.family);
            let wanted = self.cluster.outcomes(&packet);
            tally.add(&wanted);
            let check = |name: &str, wanted: &BTreeSet<Outcome>, found| match found == *wanted {
                true => Ok(()),
                false => Err(format!("{packet:?}\n  wanted {wanted:?}\n  but {name} {found:?}")),
            };
            let found = trace(&mut self.table, &node, &packet);
            check("nftables, step by step", &wanted, found)?;
            for (mode, outcomes) in &mut modes {
                let wanted = row_of(&packet, &wanted, mode, &self.cluster);
                check(mode, &wanted, outcomes(&packet))?;
            }
        }
        Ok(())
    }

    /// Step by step, at once, and begun anew: the same tables.
    fn check_tables(&mut self) -> Result<(), String> {
        let mut catalog = Catalog::new("node-1");
        for change in &self.changes {
            catalog.apply(change.clone());
        }
        let dirty = catalog.take_dirty();
        let mut fresh = Table::new(self.settings.clone(), MemoryKernel::default());
        fresh.sync(&catalog, &dirty).expect("synced");
        settle(&mut fresh);
        let (found, wanted) = (&self.table.kernel().ruleset, &fresh.kernel().ruleset);
        if found != wanted && normal(found) != normal(wanted) {
            return Err(format!("step by step {found:#?}\nat once {wanted:#?}"));
        }
        let kernel = self.table.kernel().clone();
        let generation = kernel.generation;
        let mut again = Table::new(self.settings.clone(), kernel);
        again.sync(&catalog, &Dirty::default()).expect("synced");
        settle(&mut again);
        match again.kernel().generation == generation {
            true => Ok(()),
            false => Err("a restart changed the table".to_owned()),
        }
    }
}

fn settle(table: &mut Table<MemoryKernel>) {
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut world = World::new(seed);
    for _ in 0..FIRST_CHANGES {
        world.change();
    }
    for _ in 0..world.generator.below(MAX_STEPS) {
        world.step();
    }
    world.settle();
    let checked = world.check_packets(tally).and_then(|()| world.check_tables());
    checked.map_err(|reason| format!("{reason}\n{:#?}", world.cluster))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_mode_agrees_with_the_reference_after_any_history() {
    let first = number("CORACLE_SEED", 1);
    let seeds = first..first + number("CORACLE_HISTORIES", HISTORIES);
    println!("seeds {seeds:?}");
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut tally = Tally::default();
        let mut failed = None;
        while failed.is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            failed = check(seed, &mut tally).err().map(|reason| (seed, reason));
        }
        (tally, failed)
    };
    let accounts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let accounts = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        accounts.collect()
    });
    for (tally, failed) in accounts {
        println!("{tally:?}");
        if let Some((seed, reason)) = failed {
            panic!("to see it again: CORACLE_SEED={seed} CORACLE_HISTORIES=1\n{reason}");
        }
    }
}
