//! Random histories: step by step, at once and after a restart the listeners and the
//! ways to them are the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proxy_agent::catalog::Catalog;
use proxy_agent::mode::Mode;
use proxy_agent::mode::userspace::Userspace;
use proxy_agent::mode::userspace::plan::ListenerTable;
use proxy_agent::routes::{Destination, Dirty, Family, RouteTable};

use super::memory_sockets::MemorySockets;
use super::packets::{outcomes, synced};
use super::{NODE, OUTSIDE, POD};
use crate::changes::{Edit, OPTIONS, edit, replay};
use crate::memory_kernel::MemoryKernel;
use crate::packet::{Outcome, Packet};
use crate::table::{self, settings};

type Mem = Userspace<MemoryKernel, MemorySockets>;

/// One event of a history.
#[derive(Clone, Debug)]
enum Event {
    Edit(Edit),
    Sync,
    /// The kernel is not to be trusted, or the node has another address.
    Distrust,
    Move(u8),
    /// No listener can be opened, and later one can.
    Full(bool),
    /// The kernel refuses after so many steps.
    Refuse(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        9 => edit(OPTIONS, 3).prop_map(Event::Edit),
        4 => Just(Event::Sync),
        1 => Just(Event::Distrust),
        1 => (1u8..4).prop_map(Event::Move),
        1 => any::<bool>().prop_map(Event::Full),
        1 => (0usize..6).prop_map(Event::Refuse),
    ]
}

/// What becomes of a packet to each destination, from inside and from outside.
fn all_outcomes(
    mode: &mut Mem,
    catalog: &Catalog,
) -> Vec<(Destination, IpAddr, BTreeSet<Outcome>)> {
    let mut destinations: Vec<Destination> = catalog.destinations().cloned().collect();
    destinations.sort();
    let mut all = Vec::new();
    for to in destinations {
        let (protocol, port) = to.transport();
        let destination = match to {
            Destination::Address { address, .. } => address,
            Destination::NodePort { .. } => NODE,
        };
        for source in [POD, OUTSIDE] {
            let packet = Packet { source, destination, protocol, port };
            all.push((to.clone(), source, outcomes(mode, &packet)));
        }
    }
    all
}

fn settle(mode: &mut Mem, catalog: &Catalog, dirty: &Dirty) {
    mode.sync(catalog, dirty).expect("synced");
    while mode.needs_sweep() {
        mode.sweep().expect("swept");
    }
}

/// What is open is what the table says, no more and no less.
fn check_sockets(mode: &mut Mem) -> Result<(), TestCaseError> {
    let wanted: Vec<_> = mode
        .table()
        .listeners()
        .map(|(name, listener)| (name.clone(), listener.backends.clone()))
        .collect();
    let ports: Vec<_> = mode.ports().map(|(name, port)| (name.clone(), port)).collect();
    let open = &mode.sockets().open;
    let opened: Vec<_> =
        open.iter().map(|(name, (_, backends))| (name.clone(), backends.clone())).collect();
    prop_assert_eq!(opened, wanted);
    let opened: Vec<_> = open.iter().map(|(name, (port, _))| (name.clone(), *port)).collect();
    prop_assert_eq!(opened, ports);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_at_once_and_after_a_restart_are_the_same(events in proptest::collection::vec(event(), 1..40)) {
        let mut catalog = table::catalog_of(Vec::new());
        let sockets = MemorySockets::at(NODE);
        let mut mode = Userspace::new(settings(), MemoryKernel::default(), sockets);
        let mut dirty = Dirty::default();
        for event in &events {
            match event {
                Event::Edit(edit) => catalog.apply(edit.change()),
                Event::Sync => {
                    dirty.extend(catalog.take_dirty());
                    if mode.sync(&catalog, &dirty).is_ok() {
                        dirty = Dirty::default();
                    } else {
                        prop_assert!(mode.sockets().full, "failed without a reason");
                    }
                }
                Event::Distrust => mode.distrust(),
                Event::Move(to) => {
                    mode.sockets().address = IpAddr::from([192, 168, 77, 10 + to]);
                    mode.distrust();
                }
                Event::Full(full) => mode.sockets().full = *full,
                Event::Refuse(steps) => {
                    mode.kernel().steps_left = Some(*steps);
                    dirty.extend(catalog.take_dirty());
                    if mode.sync(&catalog, &dirty).is_ok() {
                        dirty = Dirty::default();
                    }
                    mode.kernel().steps_left = None;
                }
            }
        }
        mode.sockets().full = false;
        if mode.sockets().address != NODE {
            mode.sockets().address = NODE;
            mode.distrust();
        }
        dirty.extend(catalog.take_dirty());
        settle(&mut mode, &catalog, &dirty);
        prop_assert_eq!(mode.table(), &ListenerTable::of(&catalog, Family::V4));
        check_sockets(&mut mode)?;
        let found = all_outcomes(&mut mode, &catalog);

        let mut fresh_catalog = replay(events.iter().filter_map(|event| match event {
            Event::Edit(edit) => Some(edit),
            _ => None,
        }));
        let all = fresh_catalog.take_dirty();
        let mut fresh = synced(settings(), &fresh_catalog, &all);
        prop_assert_eq!(&found, &all_outcomes(&mut fresh, &fresh_catalog));

        // As after a kill that left the rules: other listeners, the same ways.
        let kernel = mode.kernel().clone();
        let mut restarted = Userspace::new(settings(), kernel, MemorySockets::at(NODE));
        settle(&mut restarted, &catalog, &Dirty::default());
        check_sockets(&mut restarted)?;
        prop_assert_eq!(&found, &all_outcomes(&mut restarted, &catalog));
    }
}
