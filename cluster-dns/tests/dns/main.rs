//! Everything the server answers, seen from outside. Never reaches into a private function.

mod answers;
mod incremental;
mod sockets;
mod upstreams;
mod watching;
mod world;
