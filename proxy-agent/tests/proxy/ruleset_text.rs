//! The ruleset as text, so that a change of it is seen in review.

use proxy_agent::dnat::Table;
use proxy_agent::nft::render::{render_chain, render_element};
use proxy_agent::nft::set::SETS;
use proxy_agent::routes::Family;

use super::memory_kernel::MemoryKernel;
use super::{objects, table};

/// All elements, and the chains that are not always there.
fn render(text: &str) -> String {
    let mut catalog = table::catalog_of(objects::changes(text));
    let dirty = catalog.take_dirty();
    let mut table = Table::new(table::settings(), MemoryKernel::default());
    table.sync(&catalog, &dirty).expect("synced");
    let kernel = table.kernel();
    let mut rendered = String::new();
    for set in SETS {
        for (key, data) in kernel.ruleset.elements(set) {
            rendered += &format!("{}: {}\n", set.as_str(), render_element(&key, data));
        }
    }
    for chain in kernel.chains.values().filter(|chain| chain.name.starts_with("pick-")) {
        rendered += &render_chain(chain, Family::V4);
    }
    rendered
}

fn check(text: &str, expected: &str) {
    let strip = |text: &str| {
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(strip(&render(text)), strip(expected));
}

#[test]
fn a_service_is_a_value_and_its_slots() {
    check(
        "svc web 10.96.0.41 80/tcp
         ep web 10.244.1.5:8080 node-1
         ep web 10.244.2.5:8080 node-2",
        "services: 10.96.0.41 . tcp . 80 : 0x00000002
         pick-service: 0x00000002 : goto pick-service-2
         unserved: 0x00000000 : goto refuse
         unserved: 0x00004000 : drop
         endpoints: 10.96.0.41 . tcp . 80 . 0x0 : 10.244.1.5 . 8080
         endpoints: 10.96.0.41 . tcp . 80 . 0x1 : 10.244.2.5 . 8080
         cluster-ips: 10.96.0.41
         hairpin: 10.244.1.5 . 10.244.1.5
         chain pick-service-2 {
           ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000
           meta priority set numgen random mod 2 goto endpoint
         }",
    );
}

#[test]
fn a_local_policy_has_slots_of_its_own_for_packets_from_outside() {
    check(
        "svc web 10.96.0.41 80/tcp node-port=30010 external=Local
         ep web 10.244.1.5:8080 node-1
         ep web 10.244.2.5:8080 node-2",
        "services: 10.96.0.41 . tcp . 80 : 0x00000002
         node-ports: tcp . 30010 : 0x54604002
         outside-node-ports: tcp . 30010 : 0x00000001
         pick-service: 0x00000002 : goto pick-service-2
         pick-node-port: 0x54604002 : goto pick-node-port-2-masquerade-node
         pick-outside-node-port: 0x00000001 : goto pick-outside-node-port-1
         unserved: 0x00000000 : goto refuse
         unserved: 0x00004000 : drop
         endpoints: 10.96.0.41 . tcp . 80 . 0x0 : 10.244.1.5 . 8080
         endpoints: 10.96.0.41 . tcp . 80 . 0x1 : 10.244.2.5 . 8080
         node-port-endpoints: tcp . 30010 . 0x0 : 10.244.1.5 . 8080
         node-port-endpoints: tcp . 30010 . 0x1 : 10.244.2.5 . 8080
         node-port-endpoints: tcp . 30010 . 0x8000 : 10.244.1.5 . 8080
         cluster-ips: 10.96.0.41
         hairpin: 10.244.1.5 . 10.244.1.5
         hairpin: 10.244.2.5 . 10.244.2.5
         chain pick-node-port-2-masquerade-node {
           fib saddr type local meta mark set meta mark | 0x00004000
           meta priority set numgen random mod 2 goto node-port-endpoint
         }
         chain pick-outside-node-port-1 {
           meta priority set numgen random mod 1 offset 32768 goto node-port-endpoint
         }
         chain pick-service-2 {
           ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000
           meta priority set numgen random mod 2 goto endpoint
         }",
    );
}
