//! Mode `ipvs` on a real kernel, in a virtual machine. Never touches this machine's.

mod connections;
mod shown;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use proxy_agent::catalog::Catalog;
use proxy_agent::mode::Mode;
use proxy_agent::mode::ipvs::netlink::Netlink;
use proxy_agent::mode::ipvs::{self, Director};
use proxy_agent::settings::Settings;

use super::network::{Network, ask_tcp};
use super::objects;
use super::table::catalog_of;

/// All tests here run in one machine.
const GROUP: &str = "ipvs_kernel::";
const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 11));
const OTHER_POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 12));

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// A mode that has `text`, and its catalog.
fn synced(settings: Settings, text: &str) -> (Director<Netlink>, Catalog) {
    let mut director = ipvs::open(settings).expect("a mode that works here");
    let mut catalog = catalog_of(objects::changes(text));
    let dirty = catalog.take_dirty();
    director.sync(&catalog, &dirty).expect("synced");
    (director, catalog)
}

fn change(director: &mut Director<Netlink>, catalog: &mut Catalog, text: &str) {
    objects::changes(text).into_iter().for_each(|change| catalog.apply(change));
    let dirty = catalog.take_dirty();
    director.sync(catalog, &dirty).expect("synced");
    while director.needs_sweep() {
        director.sweep().expect("swept");
    }
}

/// Who answers a new connection.
fn who(network: &Network, from: IpAddr, to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let answer = network.from(from, move || ask_tcp(to))?;
    let server = answer.split(' ').next().unwrap_or_default();
    Ok(server.to_owned())
}
