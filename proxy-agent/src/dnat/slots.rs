//! Which endpoint has which slot. Pure; never touches a map.

use crate::routes::Target;

/// Gives each of `wanted` (sorted, without duplicates) one of the slots
/// `0..wanted.len()`. Who has a slot keeps it where possible, so that one
/// endpoint's change moves at most one other, whatever their number.
///
/// `former[i]` is what slot `i` holds now. With a former of `[a, b, c, d]` and
/// `[a, c, d]` wanted the result is `[a, d, c]`.
pub fn assign(former: &[Option<Target>], wanted: &[Target]) -> Vec<Target> {
    let count = wanted.len();
    let mut slots: Vec<Option<Target>> = vec![None; count];
    let mut placed = vec![false; count];
    // Slots are given in the order of `wanted`, and mostly still have it.
    let mut next = 0;
    for (slot, target) in former.iter().take(count).enumerate() {
        let Some(target) = target else { continue };
        let index = if wanted.get(next) == Some(target) {
            next
        } else if let Ok(index) = wanted.binary_search(target) {
            index
        } else {
            continue;
        };
        next = index + 1;
        if !placed[index] {
            placed[index] = true;
            slots[slot] = Some(wanted[index]);
        }
    }
    let mut rest =
        wanted.iter().zip(placed).filter(|(_, placed)| !placed).map(|(target, _)| *target);
    slots.into_iter().map_while(|slot| slot.or_else(|| rest.next())).collect()
}
