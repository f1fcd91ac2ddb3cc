//! Nothing: every package depends on this one for its dependencies' features.
