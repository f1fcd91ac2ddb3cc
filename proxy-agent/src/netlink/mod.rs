//! Netlink to netfilter: messages, attributes, the socket. Never knows what a table
//! or a tracked connection is.

mod message;
mod socket;

pub use message::{Attributes, CONNTRACK, Messages, NFTABLES, Nest, Received, flag, kind};
pub use socket::Socket;

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused a message of a transaction; nothing of it took effect.
    #[error("the kernel refused message {message} of an nftables transaction: {error}")]
    Refused {
        /// Counted from the transaction's begin.
        message: u32,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// The answer is not what the protocol says.
    #[error("netlink answer makes no sense: {0}")]
    Malformed(&'static str),
}
