//! Kinds of the group `apps`, one file each.
//!
//! Never holds the rules of pods: those are in `crate::core`.

pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
mod validation;
