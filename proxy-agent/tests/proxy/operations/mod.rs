//! The agent's own binary against an API server of the test's, in a namespace: probes,
//! metrics, health checks, clean-up. Never looks at a rule's text, but for whose it is.

pub mod api;
mod carrying;
mod cleaning;
mod health_check;
mod probes;
pub mod process;
