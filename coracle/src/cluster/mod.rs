//! What the lab in namespaces and the one in containers both need: credentials, command lines, the
//! first objects, and processes that are started again.

pub mod bootstrap;
pub mod command_line;
pub mod dns;
pub mod exec;
pub mod identities;
pub mod kubeconfig;
pub mod netlink;
pub mod pki;
pub mod process_table;
pub mod proxy;
pub mod ranges;
pub mod upstream_dns;
