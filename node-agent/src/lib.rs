//! The node agent: pods on a node as real processes in their own namespaces.

pub mod env;
pub mod images;
pub mod lifecycle;
pub mod local_runtime;
pub mod probe;
pub mod resolv;
pub mod runtime;
pub mod shim;
pub mod status;

pub use shim::main_if_shim;
