//! Kinds of the group `discovery.k8s.io`, one file each.
//!
//! Never derives slices from Services and Pods: a controller does.

pub mod endpoint_slice;
