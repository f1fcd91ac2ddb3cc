//! The node proxy: Services and EndpointSlices in, kernel rules out.
