//! Kinds and their rules: defaulting, validation, selectors, patches, codecs.
//!
//! Never does I/O, reads a clock or starts a task.

pub mod allocate;
pub mod apps;
pub mod check;
mod conform;
pub mod coordination;
pub mod core;
pub mod decode;
pub mod decode_error;
mod defaults;
mod definitions;
pub mod discovery;
mod document;
pub mod duration;
pub mod facts;
pub mod field;
pub mod kind;
pub mod kind_names;
pub mod kinds;
pub mod meta;
mod meta_facts;
mod meta_numbers;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
mod plain;
pub mod protobuf;
pub mod quantity;
pub mod scheduling;
pub mod selector;
pub mod shape;
pub mod status;
pub mod subresource;
pub mod table;
pub mod typed;
pub mod unstructured;
pub mod version;
