//! Kinds and their rules: defaulting, validation, selectors, patches, codecs.
//!
//! Never does I/O, reads a clock or starts a task.

pub mod decode;
pub mod field;
pub mod kind;
