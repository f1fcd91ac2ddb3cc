//! What a change of the catalog makes others look up again: keys alone, never what is found
//! there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Destination, Family};

/// What differs since the last [`Catalog::take_dirty`](crate::catalog::Catalog::take_dirty): the keys to look up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Destinations whose routes may have changed.
    pub destinations: BTreeSet<Destination>,
    /// Cluster IPs that came or went.
    pub cluster_ips: BTreeSet<IpAddr>,
    /// Endpoint addresses whose pods may meet themselves through this node that came or went.
    pub own_endpoints: BTreeSet<IpAddr>,
}

impl Dirty {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.cluster_ips.is_empty() && self.own_endpoints.is_empty()
    }

    /// The same in parts of at most `count` destinations, and at least one part: the
    /// endpoints in the first, the cluster IPs, which come after their destinations, in
    /// the last.
    pub fn parts(&self, count: usize) -> Vec<Dirty> {
        let mut parts = vec![Dirty::default()];
        for (index, destination) in self.destinations.iter().enumerate() {
            if index > 0 && index % count == 0 {
                parts.push(Dirty::default());
            }
            if let Some(part) = parts.last_mut() {
                part.destinations.insert(destination.clone());
            }
        }
        if let Some(first) = parts.first_mut() {
            first.own_endpoints.clone_from(&self.own_endpoints);
        }
        if let Some(last) = parts.last_mut() {
            last.cluster_ips.clone_from(&self.cluster_ips);
        }
        parts
    }

    /// The part that concerns one IP family.
    pub fn of_family(&self, family: Family) -> Dirty {
        let of = |addresses: &BTreeSet<IpAddr>| {
            let addresses = addresses.iter().copied();
            addresses.filter(|a| Family::of(a) == family).collect()
        };
        let destinations = self.destinations.iter();
        Dirty {
            destinations: destinations.filter(|to| to.family() == family).cloned().collect(),
            cluster_ips: of(&self.cluster_ips),
            own_endpoints: of(&self.own_endpoints),
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Dirty) {
        self.destinations.extend(other.destinations);
        self.cluster_ips.extend(other.cluster_ips);
        self.own_endpoints.extend(other.own_endpoints);
    }
}
