//! The node agent: pods on a node as real processes in their own namespaces.
