//! Endpoints and EndpointSlices from Services and Pods.
