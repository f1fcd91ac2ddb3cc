//! Kinds of the group `scheduling.k8s.io`, one file each.

pub mod priority_class;
