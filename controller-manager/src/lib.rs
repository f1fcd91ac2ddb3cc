//! The controllers that are not about Services: Deployment, ReplicaSet, scheduler, node lifecycle, garbage collector, namespaces.
