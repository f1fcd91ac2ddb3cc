//! Tests of mode `iptables`. Never says what becomes of a packet: the table of packets does.

mod histories;
mod kernel;
mod large;
mod live;
pub mod memory;
mod packets;
mod removal;
mod rules_text;
pub mod tracer;
