//! What should be in the maps for given destinations. Pure: routes and what is
//! installed in, wanted elements out; never an operation (that is `diff`'s).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::slots::assign;
use super::value::{OUTSIDE_IDENTITY, affinity_of, value_of};
use crate::nft::face::{FACES, Face, OUTSIDE_SLOT};
use crate::nft::guard::Guards;
use crate::nft::ruleset::Ruleset;
use crate::nft::scope::Scope;
use crate::nft::set::{Data, Key, SETS, SetName};
use crate::routes::{Destination, Dirty, Family, Route, RouteTable, Routes, Target};

/// Plans the given keys anew. What is installed matters only for who keeps which
/// slot; the same routes give the same plan up to the order of slots.
pub fn plan(
    table: &impl RouteTable,
    family: Family,
    keys: &Dirty,
    installed: &Ruleset,
) -> Vec<Scope> {
    let mut scopes = Vec::new();
    let mut guards = Guards::new(installed);
    for destination in keys.destinations.iter().filter(|d| d.family() == family) {
        let routes = table.routes(destination);
        plan_destination(routes, destination, installed, &mut scopes);
        // Beside its values, with which it is one step.
        if matches!(destination, Destination::Address { .. }) {
            scopes.extend(guards.plan(destination, routes));
        }
    }
    scopes.extend(guards.finish());
    for address in keys.cluster_ips.iter().filter(|a| Family::of(a) == family) {
        let key = Key::Address(*address);
        scopes.push(presence(SetName::ClusterIps, key, table.is_cluster_ip(address)));
    }
    for address in keys.own_endpoints.iter().filter(|a| Family::of(a) == family) {
        let key = Key::Pair(*address);
        scopes.push(presence(SetName::Hairpin, key, table.is_own_endpoint(address)));
    }
    scopes
}

/// Every key that the routes or the table have: the argument for a full plan.
pub fn all_keys(table: &impl RouteTable, installed: &Ruleset) -> Dirty {
    let mut keys = table.keys();
    for set in SETS.into_iter().filter(|set| !set.is_dynamic()) {
        for (key, _) in installed.elements(set) {
            key.note(&mut keys);
        }
    }
    keys
}

fn presence(set: SetName, key: Key, present: bool) -> Scope {
    let elements = present.then(|| (key.clone(), Data::None)).into_iter().collect();
    Scope::new(set, key.clone()..=key, elements)
}

fn plan_destination(
    routes: Option<&Routes>,
    destination: &Destination,
    installed: &Ruleset,
    scopes: &mut Vec<Scope>,
) {
    let node_port = matches!(destination, Destination::NodePort { .. });
    for face in FACES.into_iter().filter(|face| face.node_port == node_port) {
        let route = routes.and_then(|routes| match face.outside {
            false => Some(&routes.inside),
            true => routes.outside.as_ref(),
        });
        plan_face(face, destination, route, installed, scopes);
    }
}

pub(super) fn slot_range(face: Face, destination: &Destination) -> RangeInclusive<Key> {
    let first = face.first_slot();
    let slot = |slot| Key::Slot(destination.clone(), slot);
    slot(first)..=slot(first + (OUTSIDE_SLOT - 1))
}

fn identity_range(face: Face, destination: &Destination) -> RangeInclusive<Key> {
    let first = if face.outside { OUTSIDE_IDENTITY } else { 0 };
    let identity = |identity| Key::Slot(destination.clone(), identity);
    identity(first)..=identity(first | (OUTSIDE_IDENTITY - 1))
}

fn plan_face(
    face: Face,
    destination: &Destination,
    route: Option<&Route>,
    installed: &Ruleset,
    scopes: &mut Vec<Scope>,
) {
    let mut values = BTreeMap::new();
    let mut endpoints = BTreeMap::new();
    let mut sticky_slots = BTreeMap::new();
    let mut sticky_endpoints = BTreeMap::new();
    let mut kept = None;
    let key = Key::Destination(destination.clone());
    if let Some(route) = route {
        let value = value_of(route);
        values.insert(key.clone(), Data::Value(value));
        let sticky = affinity_of(value).is_some();
        let former = former_slots(face, destination, sticky, installed);
        let assigned = assign(&former, &route.endpoints);
        if !sticky && let Some(last) = assigned.len().checked_sub(1) {
            let slot = |index| Key::Slot(destination.clone(), face.first_slot() + index as u32);
            kept = Some(slot(0)..=slot(last));
        }
        for (index, target) in assigned.into_iter().enumerate() {
            if !sticky && former.get(index) == Some(&Some(target)) {
                continue;
            }
            let slot = Key::Slot(destination.clone(), face.first_slot() + index as u32);
            if sticky {
                let identity = identity_of(face, &target);
                sticky_slots.insert(slot, Data::Value(identity));
                // Two endpoints of one Service with one identity (1 in 2^31 pairs):
                // clients of either stick to the later one.
                sticky_endpoints
                    .insert(Key::Slot(destination.clone(), identity), Data::Target(target));
            } else {
                endpoints.insert(slot, Data::Target(target));
            }
        }
    }
    let slots = slot_range(face, destination);
    let identities = identity_range(face, destination);
    let one = key.clone()..=key;
    let all = [
        Scope::new(face.sticky_endpoints(), identities, sticky_endpoints),
        Scope::new(face.sticky_slots(), slots.clone(), sticky_slots),
        Scope { kept, ..Scope::new(face.endpoints(), slots, endpoints) },
        Scope::new(face.values(), one, values),
    ];
    scopes.extend(all.into_iter().filter(|scope| !scope.is_idle(installed)));
}

fn former_slots(
    face: Face,
    destination: &Destination,
    sticky: bool,
    installed: &Ruleset,
) -> Vec<Option<Target>> {
    let set = if sticky { face.sticky_slots() } else { face.endpoints() };
    let mut former = Vec::new();
    for (key, data) in installed.range(set, slot_range(face, destination)) {
        let Key::Slot(_, slot) = key else { continue };
        let target = match data {
            Data::Target(target) => Some(*target),
            Data::Value(identity) => {
                let key = Key::Slot(destination.clone(), *identity);
                match installed.get(face.sticky_endpoints(), &key) {
                    Some(Data::Target(target)) => Some(*target),
                    _ => None,
                }
            }
            _ => None,
        };
        former.resize((slot - face.first_slot()) as usize, None);
        former.push(target);
    }
    former
}

/// An endpoint's identity: a hash (FNV-1a) of address and port that stays the
/// same over restarts, and says which packets it is live for.
fn identity_of(face: Face, target: &Target) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut add = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    match target.address {
        std::net::IpAddr::V4(address) => address.octets().into_iter().for_each(&mut add),
        std::net::IpAddr::V6(address) => address.octets().into_iter().for_each(&mut add),
    }
    target.port.to_be_bytes().into_iter().for_each(&mut add);
    hash & !OUTSIDE_IDENTITY | if face.outside { OUTSIDE_IDENTITY } else { 0 }
}
