//! Others in the same kernel: their tables are left alone, and what they do to ours is
//! noticed and repaired.

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::Table;
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;
use proxy_agent::settings::Settings;
use std::os::fd::AsFd;

use super::memory_kernel::MemoryKernel;
use super::{network, objects, table};

/// Runs `nft -f -`; the text is the test's own.
fn nft(script: &str) -> String {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nft");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "nft: {script}");
    String::from_utf8(output.stdout).expect("text")
}

/// Like `network::in_namespaces`, for a test that also needs `nft`.
fn with_nft(name: &str, test: impl FnOnce()) {
    let found = Command::new("nft").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg("-v").output();
    if found.is_err() {
        let missing = "`nft` is missing: install nftables";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {missing}");
        return;
    }
    network::in_namespaces(name, test);
}

fn open() -> Table<Netlink> {
    Table::new(table::settings(), Netlink::open(Family::V4, TABLE).expect("netlink"))
}

fn settle(table: &mut Table<Netlink>, catalog: &mut Catalog) {
    let dirty = catalog.take_dirty();
    table.sync(catalog, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
}

/// What the catalog comes to, in no kernel.
fn check_whole(kernel: &mut Netlink, text: &str) {
    use proxy_agent::nft::kernel::Kernel;
    let mut catalog = table::catalog_of(objects::changes(text));
    let mut memory = Table::new(table::settings(), MemoryKernel::default());
    let dirty = catalog.take_dirty();
    memory.sync(&catalog, &dirty).expect("synced");
    while memory.needs_sweep() {
        memory.sweep().expect("swept");
    }
    let found = kernel.dump().expect("a dump");
    assert_eq!(found, memory.kernel().ruleset);
}

/// Services with one endpoint each, so that there is no choice of slots.
fn services(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let (high, low) = (index / 250, index % 250 + 1);
        text += &format!(
            "svc s{index} 10.96.{high}.{low} 80/tcp external=Local external-ip=198.51.{high}.{low}\n"
        );
        text += &format!("ep s{index} 10.244.2.{low}:80{:02} node-1\n", index % 100);
    }
    text
}

const OTHERS: &str = "
    table ip other { map m { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop }; };
        chain input { type filter hook input priority 0; ip saddr vmap @m; }; }
    table inet coracle-proxy { set services { type ipv4_addr; elements = { 10.96.0.1 }; }; }
    table ip coracle-proxy-2 { chain services { accept; }; }
";

fn others() -> String {
    ["ip other", "inet coracle-proxy", "ip coracle-proxy-2"]
        .map(|name| nft(&format!("list table {name}\n")))
        .concat()
}

#[test]
fn other_tables_are_never_touched() {
    with_nft("foreign::other_tables_are_never_touched", || {
        nft(OTHERS);
        let before = others();
        assert!(before.contains("10.0.0.1") && before.contains("10.96.0.1"));
        // A layout that is not ours any more, rebuilt; changes; the end of it all.
        nft("add table ip coracle-proxy\nadd chain ip coracle-proxy former\n");
        let mut catalog = table::catalog_of(objects::changes(&services(10)));
        let mut table = open();
        settle(&mut table, &mut catalog);
        catalog = table::catalog_of(objects::changes(&services(20)));
        table.distrust();
        settle(&mut table, &mut catalog);
        assert_eq!(others(), before);
        cleanup(Family::V4).expect("cleaned up");
        assert_eq!(others(), before);
        assert!(!nft("list tables\n").contains("table ip coracle-proxy\n"));
    });
}

#[test]
fn edits_of_others_are_noticed_at_once_and_repaired() {
    with_nft("foreign::edits_of_others_are_noticed_at_once_and_repaired", || {
        let text = services(20);
        let mut catalog = table::catalog_of(objects::changes(&text));
        let mut table = open();
        settle(&mut table, &mut catalog);
        assert!(!table.is_disturbed(), "the own load");
        nft(OTHERS);
        assert!(!table.is_disturbed(), "other tables");
        let watched = table.watched().expect("a monitor");
        for edit in [
            "delete element ip coracle-proxy services { 10.96.0.3 . tcp . 80 }",
            "add element ip coracle-proxy cluster-ips { 10.96.7.7 }",
            "insert rule ip coracle-proxy services accept",
            "flush chain ip coracle-proxy nat-prerouting",
            "add chain ip coracle-proxy pick-service-77",
            "flush map ip coracle-proxy endpoints",
            "delete table ip coracle-proxy",
            "flush ruleset",
            "flush ruleset\nadd table ip coracle-proxy",
        ] {
            nft(edit);
            let mut ready = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut ready, PollTimeout::NONE), Ok(1));
            assert!(table.is_disturbed(), "{edit}");
            table.distrust();
            settle(&mut table, &mut catalog);
            assert!(!table.is_disturbed(), "the own repair of: {edit}");
            check_whole(table.kernel(), &text);
        }
    });
}

#[test]
fn a_load_in_many_transactions_still_hears_others() {
    with_nft("foreign::a_load_in_many_transactions_still_hears_others", || {
        let mut catalog = table::catalog_of(objects::changes(&services(2_000)));
        let mut table = open();
        settle(&mut table, &mut catalog);
        assert!(table.traffic().transactions > 2, "{:?}", table.traffic());
        assert!(!table.is_disturbed(), "the own load");
        nft("add element ip coracle-proxy cluster-ips { 10.96.77.7 }");
        assert!(table.is_disturbed());
    });
}

#[test]
fn another_layout_is_replaced_in_one_transaction() {
    with_nft("foreign::another_layout_is_replaced_in_one_transaction", || {
        let former = "table ip coracle-proxy { comment \"Services, layout 0\"; chain former { type nat hook prerouting priority -100; }; }";
        let text = services(2_000);
        for buffer in [None, Some(212_992)] {
            nft(former);
            let settings: Settings = table::settings();
            let netlink = match buffer {
                None => Netlink::open(Family::V4, TABLE),
                Some(bytes) => Netlink::with_send_buffer(Family::V4, TABLE, bytes),
            };
            let mut table = Table::new(settings, netlink.expect("netlink"));
            let mut catalog = table::catalog_of(objects::changes(&text));
            let before = table.kernel().generation().expect("a generation");
            let dirty = catalog.take_dirty();
            table.sync(&catalog, &dirty).expect("synced");
            let transactions = table.kernel().generation().expect("a generation") - before;
            // Where the buffer is too small there is no other way than several.
            assert_eq!(transactions == 1, buffer.is_none(), "{transactions}");
            settle(&mut table, &mut catalog);
            check_whole(table.kernel(), &text);
            cleanup(Family::V4).expect("cleaned up");
        }
    });
}
