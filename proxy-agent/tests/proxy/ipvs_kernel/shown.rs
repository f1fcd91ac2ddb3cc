//! What the mode has made, as `ipvsadm`, `ip` and `nft` show it, and that it goes again.
//! Never sends a packet but to see that one arrives.

use std::collections::BTreeSet;

use proxy_agent::mode::ipvs::render::render_servers;
use proxy_agent::mode::nftables::TABLE;
use proxy_agent::mode::{Mode, ipvs};
use proxy_agent::modes::MODES;
use proxy_agent::nft::netlink::Netlink as TableNetlink;
use proxy_agent::routes::{Dirty, Family};

use super::{GROUP, POD, output, sorted, synced, who};
use crate::ipvs::OBJECTS;
use crate::network::Network;
use crate::objects;
use crate::table::{catalog_of, open, settings};
use crate::vm::in_vm;

/// Everything that the mode makes, as other programs see it.
fn shown() -> Vec<String> {
    let servers = sorted(&output("ipvsadm", "-Sn"));
    let addresses = output("ip", "-o addr show dev kube-ipvs0");
    let table = output("nft", "list ruleset");
    servers
        .into_iter()
        .chain(addresses.lines().map(str::to_owned))
        .chain(table.lines().map(str::to_owned))
        .collect()
}

#[test]
fn ipvsadm_shows_a_virtual_server_for_each_port_and_node_address() {
    let name = "ipvs_kernel::shown::ipvsadm_shows_a_virtual_server_for_each_port_and_node_address";
    in_vm(GROUP, name, || {
        let _network = Network::new();
        let (mut director, _) = synced(
            settings(),
            "svc web 10.96.0.10 80/tcp node-port=30010
             ep web 10.244.1.11:8080 node-1
             ep web 10.244.1.12:8080 node-1
             svc sticky 10.96.0.23 80/tcp affinity=10800
             ep sticky 10.244.1.11:8080 node-1
             svc none 10.96.0.12 53/udp",
        );
        let shown = output("ipvsadm", "-Ln");
        let entry = |head: &str, rest: &[&str]| {
            let start = shown.find(head).unwrap_or_else(|| panic!("{head} in\n{shown}"));
            let lines = shown[start..].lines().skip(1);
            let reals = lines.take_while(|line| line.trim_start().starts_with("->"));
            let reals: BTreeSet<String> = reals
                .map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "))
                .collect();
            let rest: BTreeSet<String> = rest.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(reals, rest, "{shown}");
        };
        let both = ["10.244.1.11:8080 Masq 1", "10.244.1.12:8080 Masq 1"];
        entry("TCP  10.96.0.10:80 rr\n", &both);
        entry("TCP  192.168.77.11:30010 rr\n", &both);
        entry("TCP  10.96.0.23:80 rr persistent 10800\n", &both[..1]);
        entry("UDP  10.96.0.12:53 rr\n", &[]);

        let installed = director.installed().expect("known");
        let ours = render_servers(&installed.servers);
        assert_eq!(sorted(&ours), sorted(&output("ipvsadm", "-Sn")));
        let addresses = output("ip", "-o -4 addr show dev kube-ipvs0");
        for address in ["10.96.0.10/32", "10.96.0.12/32", "10.96.0.23/32"] {
            assert!(addresses.contains(address), "{addresses}");
        }
        assert_eq!(addresses.lines().count(), 3, "{addresses}");
        director.distrust();
    });
}

#[test]
fn a_restart_changes_nothing_and_a_damage_is_repaired() {
    let name = "ipvs_kernel::shown::a_restart_changes_nothing_and_a_damage_is_repaired";
    in_vm(GROUP, name, || {
        let _network = Network::new();
        let (mut director, catalog) = synced(settings(), OBJECTS);
        let whole = shown();
        let mut table = TableNetlink::open(Family::V4, TABLE).expect("netlink");
        let generation = table.generation().expect("a generation");
        drop(director);
        director = ipvs::open(settings()).expect("a mode that works here");
        director.sync(&catalog, &Dirty::default()).expect("synced");
        assert_eq!(table.generation().expect("a generation"), generation);
        assert_eq!(shown(), whole);

        output("ipvsadm", "-D -t 10.96.0.10:80");
        output("ipvsadm", "-d -t 10.96.0.15:80 -r 10.244.1.12:8080");
        output("ipvsadm", "-E -u 10.96.0.22:53 -s lc");
        output("ip", "addr del 10.96.0.12/32 dev kube-ipvs0");
        output("nft", "flush set ip coracle-proxy-ipvs addresses");
        assert_ne!(shown(), whole);
        director.distrust();
        director.sync(&catalog, &Dirty::default()).expect("repaired");
        assert_eq!(sorted(&shown().join("\n")), sorted(&whole.join("\n")));

        output("ip", "link del kube-ipvs0");
        output("ipvsadm", "-C");
        output("nft", "delete table ip coracle-proxy-ipvs");
        director.distrust();
        director.sync(&catalog, &Dirty::default()).expect("repaired");
        let names = |shown: Vec<String>| shown.len();
        assert_eq!(names(shown()), whole.len());
    });
}

#[test]
fn changes_of_mode_leave_nothing_of_the_former() {
    let name = "ipvs_kernel::shown::changes_of_mode_leave_nothing_of_the_former";
    in_vm(GROUP, name, || {
        let network = Network::new();
        output("ipvsadm", "-A -t 192.168.77.11:6443 -s rr");
        let mut catalog = catalog_of(objects::changes(OBJECTS));
        catalog.take_dirty();
        for name in ["ipvs", "nftables", "ipvs"] {
            let mut mode = open(name, settings());
            for other in MODES.iter().filter(|other| other.name != name) {
                (other.cleanup)(Family::V4).expect("cleaned");
            }
            mode.sync(&catalog, &Dirty::default()).expect("synced");
            assert!(who(&network, POD, "10.96.0.10:80").is_ok(), "{name}");
            let tables = output("nft", "list tables");
            let links = output("ip", "-o link");
            let servers = output("ipvsadm", "-Sn");
            let is_ipvs = name == "ipvs";
            assert_eq!(tables.lines().count(), 1, "{tables}");
            assert_eq!(tables.contains("coracle-proxy-ipvs"), is_ipvs, "{tables}");
            assert_eq!(links.contains("kube-ipvs0"), is_ipvs, "{links}");
            assert_eq!(servers.lines().count() > 1, is_ipvs, "{servers}");
            assert!(servers.contains("192.168.77.11:6443"), "another's stays");
        }
        ipvs::cleanup(Family::V4).expect("cleaned");
        assert_eq!(output("ipvsadm", "-Sn"), "-A -t 192.168.77.11:6443 -s rr\n");
        assert_eq!(output("nft", "list ruleset"), "");
        assert!(!output("ip", "-o link").contains("kube-ipvs0"));
    });
}

/// Its node ports are on the node's own addresses, and it has no table of ours.
#[test]
fn nothing_is_left_of_a_stock_kube_proxy() {
    let name = "ipvs_kernel::shown::nothing_is_left_of_a_stock_kube_proxy";
    in_vm(GROUP, name, || {
        let _network = Network::new();
        output("ipvsadm", "-A -t 192.168.99.1:6443 -s rr");
        output("ip", "link add kube-ipvs0 type dummy");
        output("ip", "addr add 10.96.0.10/32 dev kube-ipvs0");
        output("ipvsadm", "-A -t 10.96.0.10:80 -s rr");
        output("ipvsadm", "-A -t 192.168.77.11:30010 -s rr");
        output("ipvsadm", "-a -t 192.168.77.11:30010 -r 10.244.1.11:8080 -m");
        assert!(ipvs::cleanup(Family::V4).expect("cleaned"));
        assert_eq!(output("ipvsadm", "-Sn"), "-A -t 192.168.99.1:6443 -s rr\n");
        assert!(!output("ip", "-o link").contains("kube-ipvs0"));
        output("ipvsadm", "-C");
    });
}

#[test]
fn an_unknown_scheduler_is_named() {
    let name = "ipvs_kernel::shown::an_unknown_scheduler_is_named";
    in_vm(GROUP, name, || {
        let mut settings = settings();
        settings.ipvs.scheduler = "guess".to_owned();
        let Err(error) = ipvs::open(settings) else { panic!("no such scheduler") };
        let error = format!("{error:#}");
        assert!(error.contains("load the module ip_vs_guess"), "{error}");
        assert!(!output("ip", "-o link").contains("kube-ipvs0"), "nothing is left");
    });
}
