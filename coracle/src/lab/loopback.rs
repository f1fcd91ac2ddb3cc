//! The lab's own loopback address on the host, and the API's listener there. Never
//! listens on an address that other machines can reach.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;

use anyhow::{Result, bail};

/// The API's port unless told otherwise.
pub const DEFAULT_PORT: u16 = 6443;
/// How many addresses are tried before the port itself is taken to be in use.
const MAX_CANDIDATES: u32 = 16;

/// Addresses for the data directory `root`, the favourite first. They lie between
/// 127.64.0.0 and 127.127.255.255, away from what distributions use.
pub fn candidates(root: &Path) -> impl Iterator<Item = Ipv4Addr> {
    let hash = fnv1a(root.as_os_str().as_encoded_bytes());
    (0..MAX_CANDIDATES).map(move |attempt| {
        let n = hash.wrapping_add(attempt.wrapping_mul(0x9e37_79b9));
        let octet = |shift: u32, from: u32, count: u32| (from + (n >> shift) % count) as u8;
        Ipv4Addr::new(127, octet(16, 64, 64), octet(8, 1, 254), octet(0, 1, 254))
    })
}

/// Binds the API's listener: on the address of the last start if there is one, else on
/// the first candidate that is free. With an `explicit` port a collision is an error.
pub fn bind(
    root: &Path,
    last: Option<Ipv4Addr>,
    port: u16,
    explicit: bool,
) -> Result<(TcpListener, SocketAddrV4)> {
    let mut tried = Vec::new();
    for address in last.into_iter().chain(candidates(root)) {
        let at = SocketAddrV4::new(address, port);
        match TcpListener::bind(at) {
            Ok(listener) => {
                let bound = match listener.local_addr()? {
                    std::net::SocketAddr::V4(bound) => bound,
                    std::net::SocketAddr::V6(_) => at,
                };
                return Ok((listener, bound));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if explicit {
                    bail!(
                        "--port {port}: {at} is in use by another process; choose another port, or 0 for any free one"
                    );
                }
                tried.push(at.to_string());
            }
            Err(error) => bail!("cannot listen on {at}: {error}"),
        }
    }
    bail!(
        "port {port} is in use on every address tried ({}): another process listens on it on all addresses; choose another with --port",
        tried.join(", ")
    )
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collision_moves_on_and_an_explicit_port_says_which() {
        let root = Path::new("/nonexistent/loopback-test");
        let (first, at) = bind(root, None, 0, true).expect("bind");
        assert!(at.ip().is_loopback());
        let port = at.port();
        let refused = bind(root, None, port, true).expect_err("in use").to_string();
        assert!(refused.contains(&format!("{at} is in use")), "{refused}");
        let (_second, other) = bind(root, None, port, false).expect("next address");
        assert_ne!(at.ip(), other.ip());
        drop(first);
        let (_third, again) = bind(root, Some(*at.ip()), port, true).expect("the same again");
        assert_eq!(again, at);
    }
}
