//! Kinds of the core group (`v1`), one file each.
//!
//! Never holds rules of another group; pod templates are shared from here.

pub mod config_map;
mod container_validation;
pub mod endpoints;
pub mod event;
pub mod facts;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod numbers;
pub mod pod;
pub mod pod_defaults;
pub mod pod_qos;
pub mod pod_row;
mod pod_subresources;
pub mod pod_template;
mod pod_update;
pub mod pod_validation;
mod probe_validation;
pub mod secret;
pub mod service;
pub mod service_account;
mod service_allocation;
mod service_types;
mod service_update;
mod service_validation;
mod volume_validation;
