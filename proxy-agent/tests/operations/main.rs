//! The agent as a program: its configuration, what it prints, what it serves. Never
//! asks what a packet does: that is `proxy`'s.

mod configuration;
mod dry_run;
mod program;
