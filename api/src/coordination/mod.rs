//! Kinds of the group `coordination.k8s.io`, one file each.
//!
//! Never decides who holds a lease: its holders do.

pub mod lease;
