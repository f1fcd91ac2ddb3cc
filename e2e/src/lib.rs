//! Tests that start processes, namespaces or containers, and benchmarks against peers.
