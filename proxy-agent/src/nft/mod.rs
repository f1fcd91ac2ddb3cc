//! nftables over netlink, in our own messages: what a table of ours is made of, what is in
//! the kernel, the operations that change it. Knows destinations and endpoints as keys and
//! data; which table there should be is said by `dnat` and by mode `ipvs`.

pub mod diff;
pub mod elements;
pub mod face;
pub mod guard;
pub mod kernel;
pub mod netlink;
pub mod parts;
pub mod render;
pub mod rule;
pub mod ruleset;
pub mod scope;
pub mod set;

/// Written into each table; another number means that it is built anew.
pub const LAYOUT_VERSION: u32 = 3;
