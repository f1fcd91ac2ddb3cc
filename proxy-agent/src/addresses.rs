//! This node's own addresses.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};

use nix::ifaddrs::getifaddrs;

/// All of them in the kernel's order, in the calling thread's network namespace.
///
/// # Errors
/// The kernel does not list its addresses.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in();
        let v4 = v4.map(|a| IpAddr::from(*SocketAddrV4::from(*a).ip()));
        let v6 = address.as_sockaddr_in6();
        v4.or(v6.map(|a| IpAddr::from(*SocketAddrV6::from(*a).ip())))
    });
    Ok(addresses.collect())
}
