//! An address of this node to lead packets to. Never one that only some can reach.

use std::io;
use std::net::IpAddr;

use crate::addresses;
use crate::routes::Family;

/// The first usable address in the kernel's order of interfaces, in the calling
/// thread's network namespace; `None`: there is none.
///
/// # Errors
/// The kernel does not list its addresses.
pub fn of_node(family: Family, is_service: &dyn Fn(&IpAddr) -> bool) -> io::Result<Option<IpAddr>> {
    Ok(addresses::own()?
        .into_iter()
        .filter(|address| Family::of(address) == family)
        .find(|address| is_reachable(address) && !is_service(address)))
}

/// Whether packets that come in from elsewhere may be sent on to it.
fn is_reachable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_not_sent_to_what_only_some_can_reach() {
        let check = |text: &str, reachable| {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(is_reachable(&address), reachable, "{text}");
        };
        check("192.168.77.11", true);
        check("fd00:77::11", true);
        check("127.0.0.1", false);
        check("::1", false);
        check("169.254.1.1", false);
        check("fe80::1", false);
        check("0.0.0.0", false);
    }
}
