//! The proxy agent's tests: one packet table for tracer and kernel, properties,
//! the ruleset as text, and what a change costs. Never touches the network
//! namespace that the tests were started in.

mod change_size;
mod explain;
mod guards;
mod histories;
mod iptables;
mod ipvs;
mod ipvs_kernel;
mod ipvs_memory;
mod kill;
mod memory_kernel;
mod network;
mod objects;
mod operations;
mod packet;
mod packets;
mod ruleset_text;
mod script;
mod sockets;
mod stale;
mod sticky;
mod table;
mod tracer;
mod userspace;
mod vm;
