//! What a kind asks of the API server's allocators while one of its objects is written: the
//! kind says what it wants, the server has the ranges and the keys in the store.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::field::FieldError;

/// Something that one object of a cluster can hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// An address of the cluster's ranges.
    Ip(IpAddr),
    /// A port of every node.
    Port(i32),
}

/// Why nothing could be allocated.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The user's fault: 422.
    Invalid(Vec<FieldError>),
    /// Nothing is left: 500, as upstream.
    Full(&'static str),
}

/// What there is to be had. What is taken becomes part of the object's own transaction.
pub trait Pool {
    /// `IPv4`, `IPv6`: the families that the cluster has addresses of, the default one first.
    fn families(&self) -> Vec<&'static str>;
    /// The range of a family.
    fn range_of(&self, family: &str) -> Option<IpNet>;
    /// Whether an address can be had from the range of a family.
    fn contains(&self, family: &str, ip: IpAddr) -> bool;
    /// The node ports.
    fn ports(&self) -> RangeInclusive<u16>;
    /// Takes a free address of a family; `None`: all are taken.
    fn take_any_ip(&mut self, family: &str) -> Option<IpAddr>;
    /// Takes a free node port; `None`: all are taken.
    fn take_any_port(&mut self) -> Option<i32>;
    /// Takes what the user chose. `if_taken` is the error where somebody else has it.
    fn take(&mut self, claim: Claim, if_taken: FieldError);
}
