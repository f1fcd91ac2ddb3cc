//! A first load in many transactions through the smallest send buffer, cut off anywhere:
//! each destination is there with all that belongs to it, or not at all.

use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::Table;
use proxy_agent::dnat::value::{affinity_of, count_of};
use proxy_agent::dnat::{diff, plan};
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::face::{FACES, Face};
use proxy_agent::nft::kernel::{Kernel, KernelError, Traffic};
use proxy_agent::nft::netlink::{BATCH_BYTES, Netlink};
use proxy_agent::nft::ruleset::{Ruleset, Step};
use proxy_agent::nft::set::{Data, Key};
use proxy_agent::routes::{Destination, Family, RouteTable};

use super::{network, objects, table};

/// The default of `net.core.wmem_default` where nobody has raised it.
const SMALLEST_BUFFER: usize = 212_992;
const SERVICES: usize = 10_000;

/// The kernel, as of an agent that is killed after some steps.
struct Cut {
    kernel: Netlink,
    steps_left: Option<usize>,
}

impl Kernel for Cut {
    fn dump(&mut self) -> Result<Ruleset, KernelError> {
        self.kernel.dump()
    }

    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError> {
        let Some(left) = &mut self.steps_left else {
            return self.kernel.commit(steps);
        };
        let done = steps.len().min(*left);
        *left -= done;
        let traffic = self.kernel.commit(&steps[..done])?;
        match done == steps.len() {
            true => Ok(traffic),
            false => Err(KernelError::Malformed("killed")),
        }
    }
}

/// Five endpoints each; some with affinity, some with policy `Local` and node ports.
fn services() -> String {
    let mut text = String::new();
    for index in 0..SERVICES {
        let (high, low) = (index / 250, index % 250 + 1);
        text += &format!("svc s{index} 10.96.{high}.{low} 80/tcp");
        match index % 10 {
            0 => text += " affinity=60",
            1 => text += &format!(" external=Local external-ip=198.51.{high}.{low}"),
            2 => text += &format!(" external=Local node-port={}", 30_000 + index / 10),
            _ => {}
        }
        text += "\n";
        for endpoint in 1..=5 {
            let node = endpoint % 2 + 1;
            text += &format!("ep s{index} 10.{endpoint}.{high}.{low}:8080 node-{node}\n");
        }
    }
    text
}

/// How many destinations are there; each must be whole.
fn check_whole(ruleset: &Ruleset, catalog: &Catalog) -> usize {
    let mut found = 0;
    for face in FACES {
        for (key, data) in ruleset.elements(face.values()) {
            let (Key::Destination(to), Data::Value(value)) = (&key, data) else {
                panic!("{key:?} {data:?}")
            };
            found += 1;
            check_face(ruleset, face, to, *value);
            let has_outside = catalog.routes(to).is_some_and(|r| r.outside.is_some());
            let other = Face { outside: !face.outside, ..face };
            let is_there = ruleset.get(other.values(), &key).is_some();
            assert!(!has_outside || is_there, "{to:?} has only {face:?}");
        }
    }
    found
}

fn check_face(ruleset: &Ruleset, face: Face, to: &Destination, value: u32) {
    assert!(
        ruleset.get(face.pick(), &Key::Value(value)).is_some(),
        "{to:?}: no chain for {value:#x}"
    );
    for index in 0..count_of(value) {
        let slot = Key::Slot(to.clone(), face.first_slot() + index);
        let endpoint = match affinity_of(value) {
            None => ruleset.get(face.endpoints(), &slot),
            Some(_) => match ruleset.get(face.sticky_slots(), &slot) {
                Some(Data::Value(identity)) => {
                    ruleset.get(face.sticky_endpoints(), &Key::Slot(to.clone(), *identity))
                }
                _ => None,
            },
        };
        assert!(endpoint.is_some(), "{to:?} in {face:?} has no slot {index}");
    }
}

#[test]
fn a_cold_start_that_is_killed_leaves_no_half_service() {
    let name = "cold_start::a_cold_start_that_is_killed_leaves_no_half_service";
    network::in_namespaces(name, || {
        let settings = table::settings();
        let mut catalog = table::catalog_of(objects::changes(&services()));
        let dirty = catalog.take_dirty();
        let open = |steps_left| {
            let kernel = Netlink::with_send_buffer(Family::V4, TABLE, SMALLEST_BUFFER);
            let kernel = kernel.expect("netlink");
            Table::new(settings.clone(), Cut { kernel, steps_left })
        };
        let fresh = Ruleset::default();
        let scopes = plan::plan(&catalog, Family::V4, &dirty, &fresh);
        // Of the frame, which is one, of chains, and of elements.
        let chains = 1 + diff::picks(&settings, &fresh, &scopes).len();
        let steps = chains + diff::make(&fresh, &scopes).len();
        // Among the chains, among the first slots, then anywhere, to the last but one. The last
        // of all are the cluster IPs.
        let cuts = [chains - 1, chains + 3, steps / 4, steps / 2, steps - SERVICES - 1, steps - 1];
        let mut seen = Vec::new();
        for cut in cuts {
            cleanup(Family::V4).expect("an empty table");
            let mut killed = open(Some(cut));
            killed.sync(&catalog, &dirty).expect_err("killed");
            let ruleset = killed.kernel().dump().expect("a dump");
            seen.push(check_whole(&ruleset, &catalog));
        }
        assert!(seen.is_sorted() && seen[0] == 0, "{seen:?}");
        let mut next = open(None);
        next.sync(&catalog, &Default::default()).expect("completed");
        let traffic = next.traffic();
        assert!(traffic.bytes <= traffic.transactions * SMALLEST_BUFFER);
        let known = next.installed().expect("known").clone();
        let found = next.kernel().dump().expect("a dump");
        assert!(found == known, "the kernel has something else");
        let faces = found.used_values().count();
        let all = check_whole(&found, &catalog);
        println!(
            "{SERVICES} Services: {steps} steps in batches of {BATCH_BYTES} bytes; cut at {cuts:?}: {seen:?} of {all} destinations, {faces} values"
        );
        assert!(seen.last().is_some_and(|last| *last <= all));
    });
}
