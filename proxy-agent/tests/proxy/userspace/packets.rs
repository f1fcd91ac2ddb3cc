//! The packet table over the mode's plan and in the kernel.

use std::collections::BTreeSet;

use proxy_agent::catalog::Catalog;
use proxy_agent::mode::Mode;
use proxy_agent::mode::userspace::Userspace;
use proxy_agent::routes::{Dirty, Family};
use proxy_agent::settings::Settings;

use super::memory_sockets::MemorySockets;
use crate::memory_kernel::MemoryKernel;
use crate::network::node_addresses;
use crate::packet::{Outcome, PROXY, Packet};
use crate::table::{check_in_kernel, check_traced};
use crate::tracer::Tracer;

/// Rules bring a packet to a listener, and the listener has endpoints.
pub fn outcomes(
    mode: &mut Userspace<MemoryKernel, MemorySockets>,
    packet: &Packet,
) -> BTreeSet<Outcome> {
    let kernel = mode.kernel().clone();
    let node_addresses = node_addresses();
    let mut tracer =
        Tracer { kernel: &kernel, node_addresses: &node_addresses, remembered: Default::default() };
    let mut outcomes = BTreeSet::new();
    for outcome in tracer.outcomes(packet) {
        let Outcome::Endpoint { target: at, .. } = outcome else {
            outcomes.insert(outcome);
            continue;
        };
        let mut open = mode.ports().filter(|(_, port)| *port == at.port);
        let (name, _) = open.next().expect("an open listener");
        let listener = mode.table().listener(name).expect("a planned listener");
        for target in &listener.backends.targets {
            outcomes
                .insert(Outcome::Endpoint { target: *target, masquerade: !packet.is_from(&PROXY) });
        }
    }
    outcomes
}

/// A mode that is done with this catalog; its listeners are on any of the node's addresses.
pub fn synced(
    settings: Settings,
    catalog: &Catalog,
    dirty: &Dirty,
) -> Userspace<MemoryKernel, MemorySockets> {
    let mut addresses = node_addresses().into_iter();
    let own = addresses.find(|address| Family::of(address) == settings.family);
    let sockets = MemorySockets::at(own.expect("an address of this family"));
    let mut mode = Userspace::new(settings, MemoryKernel::default(), sockets);
    mode.sync(catalog, dirty).expect("synced");
    mode
}

#[test]
fn the_tracer_sees_what_the_table_says() {
    check_traced("userspace", |settings, catalog, dirty| {
        let mut mode = synced(settings, catalog, dirty);
        move |packet| outcomes(&mut mode, packet)
    });
}

#[test]
fn the_kernel_does_what_the_table_says() {
    check_in_kernel("userspace::packets::the_kernel_does_what_the_table_says", "userspace");
}
