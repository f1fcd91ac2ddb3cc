//! The generation of the kernel's nftables rules, asked over netlink: it rises with every change of any table.

use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`, from `linux/netfilter/nf_tables.h`.
const GET_GENERATION: u16 = 10 << 8 | 16;
const NLM_F_REQUEST: u16 = 1;
/// `nlmsghdr` and `nfgenmsg`.
const HEADER_BYTES: usize = 16 + 4;
/// The attribute's own header.
const ATTRIBUTE_BYTES: usize = 4;

/// The generation in this network namespace.
pub fn ruleset_generation() -> io::Result<u32> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    let mut request = Vec::with_capacity(HEADER_BYTES);
    request.extend_from_slice(&(HEADER_BYTES as u32).to_ne_bytes());
    request.extend_from_slice(&GET_GENERATION.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.resize(HEADER_BYTES, 0);
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // The first attribute is the id, in network order.
    let id = answer.get(HEADER_BYTES + ATTRIBUTE_BYTES..HEADER_BYTES + ATTRIBUTE_BYTES + 4);
    let id = id.filter(|_| length >= HEADER_BYTES + ATTRIBUTE_BYTES + 4);
    let id = id.and_then(|bytes| bytes.try_into().ok());
    id.map(u32::from_be_bytes).ok_or_else(|| io::Error::other("a short answer to NFT_MSG_GETGEN"))
}
