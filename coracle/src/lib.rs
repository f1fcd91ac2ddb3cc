//! All of Coracle in one binary, and the lab without root. Never holds logic of a
//! component: those are crates of their own.

pub mod cmd;
pub mod component;
pub mod demo_web;
pub mod lab;
