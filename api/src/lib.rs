//! Kinds and their rules: defaulting, validation, selectors, patches, codecs.
//!
//! Never does I/O, reads a clock or starts a task.

pub mod apps;
pub mod coordination;
pub mod core;
pub mod decode;
pub mod discovery;
pub mod duration;
pub mod field;
pub mod kind;
pub mod kinds;
pub mod names;
pub mod selector;
mod selector_text;
pub mod status;
pub mod table;
pub mod typed;
