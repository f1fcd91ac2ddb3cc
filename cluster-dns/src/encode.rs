//! Messages as bytes within a transport's limit. Never decides what is answered.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};

use crate::answer::MAX_UDP_PAYLOAD_BYTES;

/// Largest UDP payload towards a client that announced nothing (RFC 1035).
pub const PLAIN_UDP_PAYLOAD_BYTES: u16 = 512;
/// Length of a DNS header in bytes.
const HEADER_BYTES: usize = 12;

/// How a query came in, and so how much may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// Length-prefixed messages on a stream.
    Tcp,
}

impl Transport {
    /// Most bytes of a response to `query`.
    pub fn limit_bytes(self, query: &Message) -> usize {
        match self {
            Self::Tcp => usize::from(u16::MAX),
            Self::Udp => {
                let announced = query.edns.as_ref().map(|edns| edns.max_payload());
                let announced = announced.unwrap_or(PLAIN_UDP_PAYLOAD_BYTES);
                let most = MAX_UDP_PAYLOAD_BYTES;
                usize::from(announced.clamp(PLAIN_UDP_PAYLOAD_BYTES, most))
            }
        }
    }
}

/// Encodes a response in at most `limit_bytes`: first without its additional
/// records, then with as many answers as fit and the TC bit, for clients that
/// never come back over TCP.
pub fn encode(mut reply: Message, limit_bytes: usize) -> Option<Vec<u8>> {
    let whole = reply.to_vec().ok()?;
    if whole.len() <= limit_bytes {
        return Some(whole);
    }
    reply.additionals.clear();
    let bare = reply.to_vec().ok()?;
    if bare.len() <= limit_bytes {
        return Some(bare);
    }
    reply.metadata.truncation = true;
    reply.authorities.clear();
    let answers = std::mem::take(&mut reply.answers);
    let (mut fits, mut fits_not) = (0, answers.len() + 1);
    let mut best = reply.to_vec().ok()?;
    while fits_not - fits > 1 {
        let middle = fits.midpoint(fits_not);
        reply.answers = answers[..middle].to_vec();
        let bytes = reply.to_vec().ok()?;
        if bytes.len() <= limit_bytes {
            (fits, best) = (middle, bytes);
        } else {
            fits_not = middle;
        }
    }
    Some(best)
}

/// The response to bytes that are no message: FORMERR where there is at least a
/// query's header to answer to, else nothing.
pub fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < HEADER_BYTES || bytes[2] & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let mut reply = Message::new(id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = ResponseCode::FormErr;
    reply.to_vec().ok()
}
