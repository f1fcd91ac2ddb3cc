//! The node agent: pods on a node as real processes in their own namespaces.

pub mod images;
pub mod local_runtime;
pub mod runtime;
pub mod shim;

pub use shim::main_if_shim;
