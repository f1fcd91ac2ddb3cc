//! Protobuf field numbers of the group `coordination.k8s.io`.
//!
//! Never says anything of types: those come with the definitions.

/// Read by `crate::protobuf::numbers`, which has the form.
pub const NUMBERS: (&str, &str) = (
    "io.k8s.api.coordination.v1",
    "
    Lease metadata=1 spec=2
    LeaseSpec holderIdentity=1* leaseDurationSeconds=2* acquireTime=3 renewTime=4
      leaseTransitions=5* strategy=6* preferredHolder=7*
    ",
);
