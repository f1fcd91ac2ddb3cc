//! The virtual servers in the notation of `ipvsadm -Sn`. Never asks IPVS.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::kernel::Installed;
use super::netlink;
use super::plan::plan_all;
use super::server::{Name, VirtualServer};
use crate::catalog::Catalog;
use crate::routes::{Family, Protocol};
use crate::settings::Settings;

/// What the mode would make where nothing is there yet, on a node with the addresses that
/// its Node has; where the catalog knows none, with those of this machine.
pub fn render(settings: &Settings, catalog: &Catalog) -> String {
    let family = settings.family;
    let of_family = |address: &&IpAddr| Family::of(address) == family;
    let addresses = catalog.place().addresses.iter();
    let mut own: BTreeSet<IpAddr> = addresses.filter(of_family).copied().collect();
    if own.is_empty() {
        own = netlink::own_addresses(family).unwrap_or_default();
    }
    let installed = Installed { own, ..Installed::default() };
    let plan = plan_all(settings, catalog, &installed);
    let mut servers = BTreeMap::new();
    for (frontend, wanted) in plan.frontends {
        let Some(wanted) = wanted else { continue };
        servers.insert(Name::Frontend(frontend), wanted.server);
        if let Some(outside) = wanted.outside {
            servers.insert(Name::Mark(settings.family, outside.mark), outside.server);
        }
    }
    render_servers(&servers)
}

/// Virtual servers, each with its real ones.
pub fn render_servers(servers: &BTreeMap<Name, VirtualServer>) -> String {
    let mut text = String::new();
    for (name, server) in servers {
        let name = render_name(name);
        let scheduling = &server.scheduling;
        let _ = write!(text, "-A {name} -s {}", scheduling.scheduler);
        if let Some(seconds) = scheduling.persistent_seconds {
            let _ = write!(text, " -p {seconds}");
        }
        text.push('\n');
        for (target, real) in &server.reals {
            let _ = writeln!(text, "-a {name} -r {target} -m -w {}", real.weight);
        }
    }
    text
}

fn render_name(name: &Name) -> String {
    match name {
        Name::Frontend(frontend) => {
            let kind = match frontend.protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            format!("{kind} {}", SocketAddr::new(frontend.address, frontend.port))
        }
        Name::Mark(Family::V4, mark) => format!("-f {mark}"),
        Name::Mark(Family::V6, mark) => format!("-f {mark} -6"),
    }
}
