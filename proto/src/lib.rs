//! Wire definitions between Coracle's components, and the code generated from them.

/// API server → node agent: exec, attach and logs as gRPC streams.
#[allow(missing_docs)]
pub mod node {
    tonic::include_proto!("coracle.node.v1");
}
