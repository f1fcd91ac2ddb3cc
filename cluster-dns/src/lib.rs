//! Cluster DNS: answers from Services and EndpointSlices.
