//! Netlink: messages, attributes, the socket. Never knows what a table, a tracked
//! connection or a virtual server is.

mod message;
mod monitor;
mod socket;

pub use message::{Attributes, CONNTRACK, Messages, NESTED, NFTABLES, Nest, Received, flag, kind};
pub use monitor::Monitor;
pub use socket::Socket;

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused a message of a batch; of a transaction nothing took effect.
    #[error("the kernel refused message {message} of a netlink batch: {error}")]
    Refused {
        /// Counted from the transaction's begin.
        message: u32,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// The kernel refused an operation.
    #[error("the kernel refused {what}: {error}")]
    RefusedThat {
        /// The operation.
        what: String,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// The transaction is larger than the socket's buffer, which may not grow.
    #[error("an nftables transaction of {0} bytes does not fit the socket's buffer")]
    TooLarge(usize),
    /// The answer is not what the protocol says.
    #[error("netlink answer makes no sense: {0}")]
    Malformed(&'static str),
}

impl KernelError {
    /// Whether it is for want of rights: then nothing is known of what is there.
    pub fn is_denied(&self) -> bool {
        match self {
            KernelError::Socket(error)
            | KernelError::Refused { error, .. }
            | KernelError::RefusedThat { error, .. } => {
                error.kind() == std::io::ErrorKind::PermissionDenied
            }
            KernelError::TooLarge(_) | KernelError::Malformed(_) => false,
        }
    }

    /// Names the operation by the number of its message, where there is one for each.
    pub fn of<T: std::fmt::Debug>(self, operations: &[T]) -> KernelError {
        match self {
            KernelError::Refused { message, error } => KernelError::RefusedThat {
                what: match operations.get(message as usize) {
                    Some(operation) => format!("{operation:?}"),
                    None => format!("message {message}"),
                },
                error,
            },
            other => other,
        }
    }
}
