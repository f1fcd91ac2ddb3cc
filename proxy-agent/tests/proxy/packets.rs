//! Mode `nftables` against the table of packets. Never says what is right: the table does.

use proxy_agent::mode::nftables::Table;
use proxy_agent::mode::{Mode, ModeName};

use super::memory_kernel::MemoryKernel;
use super::objects;
use super::packet::{Outcome, rows};
use super::table::{NODE, OBJECTS, check_in_kernel, check_traced, model_of, settings};
use super::tracer::Tracer;

#[test]
fn the_tracer_sees_what_the_table_says() {
    let mut model = model_of(objects::changes(OBJECTS));
    let dirty = model.take_dirty();
    let mut table = Table::new(settings(), MemoryKernel::default());
    table.sync(&model, &dirty).expect("synced");
    check_traced(|packet| {
        let mut tracer = Tracer {
            kernel: table.kernel(),
            node_addresses: &NODE,
            remembered: Default::default(),
        };
        tracer.outcomes(packet)
    });
}

#[test]
fn the_kernel_does_what_the_table_says() {
    check_in_kernel(
        "packets::the_kernel_does_what_the_table_says",
        ModeName::Nftables,
    );
}

#[test]
fn a_client_with_affinity_stays_until_its_endpoint_is_gone() {
    let mut model = model_of(objects::changes(OBJECTS));
    let dirty = model.take_dirty();
    let mut table = Table::new(settings(), MemoryKernel::default());
    table.sync(&model, &dirty).expect("synced");
    let packet = rows("10.244.1.99 -> tcp 10.96.0.23:80 => reject")
        .remove(0)
        .packet;
    let kernel = table.kernel().clone();
    let mut tracer = Tracer {
        kernel: &kernel,
        node_addresses: &NODE,
        remembered: Default::default(),
    };
    let (first, _) = tracer.trace(&packet, 1);
    for random in 0..3 {
        assert_eq!(tracer.trace(&packet, random).0, first);
    }
    let Outcome::Endpoint { target, .. } = first else {
        panic!("{first:?}")
    };
    let remembered = tracer.remembered;
    let rest: String = OBJECTS
        .lines()
        .filter(|line| !line.contains(&format!("ep sticky {}:", target.address)))
        .flat_map(|line| [line, "\n"])
        .collect();
    objects::changes(&rest)
        .into_iter()
        .for_each(|change| model.apply(change));
    let dirty = model.take_dirty();
    table.sync(&model, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep(&model).expect("swept");
    }
    let mut tracer = Tracer {
        kernel: table.kernel(),
        node_addresses: &NODE,
        remembered,
    };
    let (second, _) = tracer.trace(&packet, 0);
    assert_ne!(second, first);
    for random in 0..2 {
        assert_eq!(tracer.trace(&packet, random).0, second);
    }
}
