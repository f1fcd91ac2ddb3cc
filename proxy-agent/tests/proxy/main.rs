//! The proxy agent's tests: one packet table for tracer and kernel, properties,
//! the ruleset as text, and what a change costs. Never touches the network
//! namespace that the tests were started in.

mod affinity;
mod agreement;
mod change_size;
mod changes;
mod churn;
mod cold_start;
mod explain;
mod foreign;
mod generate;
mod guards;
mod histories;
mod iptables;
mod ipvs;
mod ipvs_kernel;
mod ipvs_memory;
mod kill;
mod memory_kernel;
mod modes;
mod network;
mod objects;
mod operations;
mod packet;
mod packets;
mod recording;
mod reference;
mod ruleset_text;
mod script;
mod sockets;
mod stale;
mod sticky;
mod table;
mod tracer;
mod userspace;
mod vm;
