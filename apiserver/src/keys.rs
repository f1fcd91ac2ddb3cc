//! Where things lie in the store, as upstream lays them out.

/// Everything that this server stores lies below this prefix.
pub const ROOT: &str = "/registry/";

/// The API servers' own keys: `/registry/masterleases/ADDRESS`.
pub const SERVERS: &str = "/registry/masterleases/";

/// What is allocated: addresses and ports.
pub const ALLOCATIONS: &str = "/registry/ranges/";

/// One key each address: `/registry/ranges/serviceips/ADDRESS`.
pub const IPS: &str = "/registry/ranges/serviceips/";

/// One key each port: `/registry/ranges/servicenodeports/PORT`.
pub const PORTS: &str = "/registry/ranges/servicenodeports/";
