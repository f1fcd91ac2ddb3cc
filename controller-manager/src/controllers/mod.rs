//! The controllers, one file or folder each: adding one is that and a line here.

use client::control_loop::Start;

use crate::World;

/// Declares the modules, and lists what each of them starts.
macro_rules! controllers {
    ($(pub mod $name:ident;)*) => {
        $(pub mod $name;)*

        /// Every controller of this crate.
        pub const ALL: &[Start<World>] = &[$($name::start),*];
    };
}

controllers! {
    pub mod daemon_set;
    pub mod deployment;
    pub mod garbage_collector;
    pub mod namespace;
    pub mod node_lifecycle;
    pub mod pod_collector;
    pub mod replica_set;
    pub mod root_ca_publisher;
    pub mod scheduler;
    pub mod service_account;
}
