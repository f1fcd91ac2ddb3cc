//! The elements that take a destination's packets to its endpoints, as text. Never
//! looks at the kernel: they are those that are known to be there.

use super::plan::slot_range;
use super::value::{affinity_of, count_of};
use crate::nft::face::Face;
use crate::nft::render::render_line;
use crate::nft::ruleset::Ruleset;
use crate::nft::set::{Data, Key, SetName};
use crate::routes::Destination;

/// Guard, value, chain and slots of a destination, one a line: `MAP { KEY : DATA }`.
pub fn elements(installed: &Ruleset, to: &Destination, outside: bool) -> Vec<String> {
    let face = Face { node_port: matches!(to, Destination::NodePort { .. }), outside };
    let key = Key::Destination(to.clone());
    let Some(Data::Value(value)) = installed.get(face.values(), &key) else {
        return Vec::new();
    };
    let mut lines = guard(installed, &key);
    lines.push(render_line(face.values(), &key, &Data::Value(*value)));
    let by_value = if count_of(*value) == 0 { SetName::Unserved } else { face.pick() };
    let key = Key::Value(*value);
    let verdict = installed.get(by_value, &key);
    lines.extend(verdict.map(|verdict| render_line(by_value, &key, verdict)));
    let slots = match affinity_of(*value) {
        Some(_) => face.sticky_slots(),
        None => face.endpoints(),
    };
    for (key, data) in installed.range(slots, slot_range(face, to)) {
        lines.push(render_line(slots, &key, data));
        if let (Key::Slot(..), Data::Value(identity)) = (key, data) {
            let key = Key::Slot(to.clone(), *identity);
            let endpoint = installed.get(face.sticky_endpoints(), &key);
            lines.extend(endpoint.map(|data| render_line(face.sticky_endpoints(), &key, data)));
        }
    }
    lines
}

/// The list of sources that may use the destination, if there is one.
fn guard(installed: &Ruleset, key: &Key) -> Vec<String> {
    let Some(Data::Value(value)) = installed.get(SetName::Guards, key) else {
        return Vec::new();
    };
    let mut lines = vec![render_line(SetName::Guards, key, &Data::Value(*value))];
    let key = Key::Value(*value);
    let verdict = installed.get(SetName::PickGuard, &key);
    lines.extend(verdict.map(|verdict| render_line(SetName::PickGuard, &key, verdict)));
    lines
}
