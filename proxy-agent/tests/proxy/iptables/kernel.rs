//! Mode `iptables` in the real kernel, with either backend of the programs: what others do
//! to its rules, what it leaves alone, and what is left of it. Never in the namespace that
//! the tests came from.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::parse::normal;
use proxy_agent::mode::iptables::programs::{Programs, Rules};
use proxy_agent::mode::iptables::{Iptables, remove};
use proxy_agent::routes::{Destination, Dirty, Protocol, RouteTable};

use super::super::{network, objects, table};

const OBJECTS: &str = "
    svc web 10.96.0.10 80/tcp node-port=30010 external-ip=198.51.100.10
    ep web 10.244.1.11:8080 node-1
    ep web 10.244.1.12:8080 node-1
    ep web 10.244.2.11:8080 node-2
    svc none 10.96.0.12 80/tcp node-port=30012 external-ip=198.51.100.12
    svc edge 10.96.0.15 80/tcp node-port=30015 external-ip=198.51.100.15 external=Local
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
    svc far 10.96.0.16 80/tcp node-port=30016 external=Local internal=Local
    ep far 10.244.2.11:8080 node-2
    svc dns 10.96.0.22 53/udp
    ep dns 10.244.1.12:5353 node-1
    svc sctp 10.96.0.24 3868/sctp
    ep sctp 10.244.1.12:3868 node-1
    svc sticky 10.96.0.23 80/tcp affinity=10800 node-port=30023
    ep sticky 10.244.1.11:8080 node-1
    ep sticky 10.244.1.12:8080 node-1
";

/// Somebody else's rules and chains.
const FOREIGN: &str = "
*filter
:MINE - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j MINE
-A MINE -j ACCEPT
-A FORWARD -m comment --comment \"KUBE-SERVICES is not meant\" -j ACCEPT
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-SVC-MINE - [0:0]
-A PREROUTING -d 203.0.113.1/32 -j KUBE-SVC-MINE
-A KUBE-SVC-MINE -j RETURN
COMMIT
";

/// One backend's programs.
pub struct Backend {
    programs: Programs,
    save: PathBuf,
    restore: PathBuf,
}

impl Backend {
    /// Programs with a lock of their own: the host's is another user's.
    pub fn new(name: &str, place: &Path) -> Option<Backend> {
        let [save, restore] = ["save", "restore"].map(|verb| {
            let program = format!("iptables-{name}-{verb}");
            let found = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];
            let found = found.into_iter().map(|dir| Path::new(dir).join(&program));
            let real = found.into_iter().find(|path| path.is_file())?;
            let path = place.join(program);
            let (lock, real) = (place.join("lock"), real.display().to_string());
            let text =
                format!("#!/bin/sh\nXTABLES_LOCKFILE={} exec {real} \"$@\"\n", lock.display());
            std::fs::write(&path, text).expect("a script");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("an executable");
            Some(path)
        });
        let (save, restore) = (save?, restore?);
        let programs = Programs::at(save.clone(), restore.clone()).tried();
        let is_for_root = |error: &anyhow::Error| format!("{error:#}").contains("list table names");
        match programs {
            Ok(programs) => Some(Backend { programs, save, restore }),
            Err(error) if is_for_root(&error) => {
                eprintln!(
                    "SKIPPED backend {name}: its tables are listed for the host's root alone"
                );
                None
            }
            Err(error) => panic!("it does not run: {error:#}"),
        }
    }

    pub fn mode(&self) -> Iptables<Programs> {
        Iptables::new(table::settings(), self.programs.clone())
    }

    /// Whether any of kube-proxy's chains is there.
    pub fn has_ours(&mut self) -> bool {
        self.state().keys().any(|chain| chain.contains("KUBE-"))
    }

    /// As somebody else would.
    fn edit(&self, text: &str) {
        let mut child = Command::new(&self.restore)
            .arg("--noflush")
            .stdin(Stdio::piped())
            .spawn()
            .expect("iptables-restore");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(text.as_bytes()).expect("written");
        drop(stdin);
        assert!(child.wait().expect("its end").success(), "{text}");
    }

    /// All that is there but counters, with chains that have no order in one.
    fn state(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut state: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut table = String::new();
        for line in self.programs.save().expect("saved").lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
            } else if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split(' ').next().unwrap_or_default();
                state.entry(format!("{table} {name}")).or_default();
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
                let rules = state.entry(format!("{table} {chain}")).or_default();
                rules.push(normal(rule));
            }
        }
        state
    }
}

/// Runs `test` with each backend that the machine has, in namespaces of its own.
fn with_backends(name: &str, test: impl Fn(Backend)) {
    network::in_namespaces(name, || {
        let place = tempfile::tempdir().expect("a directory");
        let found = ["nft", "legacy"].map(|name| Backend::new(name, place.path()));
        assert!(found.iter().any(Option::is_some), "install the package iptables");
        found.into_iter().flatten().for_each(&test);
    });
}

#[test]
fn a_restart_without_a_change_writes_nothing() {
    let name = "iptables::kernel::a_restart_without_a_change_writes_nothing";
    with_backends(name, |backend| {
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let mut first = backend.mode();
        first.sync(&catalog, &dirty).expect("synced");
        assert!(first.transactions() > 0);
        let mut second = backend.mode();
        second.sync(&catalog, &Dirty::default()).expect("synced");
        assert_eq!(second.transactions(), 0, "{:?}", backend.restore);
        second.distrust();
        second.sync(&catalog, &Dirty::default()).expect("synced");
        assert_eq!(second.transactions(), 0, "{:?}", backend.restore);
        remove(first.rules()).expect("removed");
    });
}

#[test]
fn the_rules_are_read_again_only_where_others_were_at_work() {
    let name = "iptables::kernel::the_rules_are_read_again_only_where_others_were_at_work";
    with_backends(name, |mut backend| {
        // The legacy programs' kernel does not count changes.
        let counts = backend.programs.generation().is_some();
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let mut mode = backend.mode();
        mode.sync(&catalog, &dirty).expect("synced");
        mode.distrust();
        assert_eq!(mode.knows(), counts);
        mode.sync(&catalog, &Dirty::default()).expect("synced");
        for change in objects::changes("ep web 10.244.2.12:8080 node-2 slice=b") {
            catalog.apply(change);
        }
        let dirty = catalog.take_dirty();
        mode.sync(&catalog, &dirty).expect("synced");
        mode.distrust();
        assert_eq!(mode.knows(), counts);
        backend.edit("*nat\n-F KUBE-SERVICES\nCOMMIT\n");
        mode.distrust();
        assert!(!mode.knows());
        remove(mode.rules()).expect("removed");
    });
}

/// A kernel without some extension, as the programs tell of it.
fn without(extension: &str, place: &Path) -> Programs {
    let backend = ["nft", "legacy"].into_iter().find_map(|name| Backend::new(name, place));
    let backend = backend.expect("install the package iptables");
    let restore = place.join("restore-without");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--test*) echo \"Warning: Extension {extension} revision 0 not supported, missing kernel module?\" >&2;; esac\nexec {} \"$@\"\n",
        backend.restore.display()
    );
    std::fs::write(&restore, text).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&restore, mode).expect("an executable");
    Programs::at(backend.save, restore)
}

#[test]
fn a_kernel_without_an_extension_is_named_or_done_without() {
    let name = "iptables::kernel::a_kernel_without_an_extension_is_named_or_done_without";
    network::in_namespaces(name, || {
        let place = tempfile::tempdir().expect("a directory");
        let missing = without("statistic", place.path()).tried();
        let error = missing.expect_err("refused").to_string();
        assert!(error.contains("xt_statistic"), "{error}");

        let programs = without("recent", place.path()).tried().expect("usable");
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let mut mode = Iptables::new(table::settings(), programs);
        mode.sync(&catalog, &dirty).expect("synced");
        let text = mode.rules().save().expect("saved");
        assert!(text.contains("default/sticky") && !text.contains("-m recent"), "{text}");
        let cannot = |port| {
            let to = Destination::Address {
                address: std::net::IpAddr::from([10, 96, 0, port]),
                protocol: Protocol::Tcp,
                port: 80,
            };
            mode.cannot(&to, catalog.routes(&to).expect("a Service"))
        };
        assert!(cannot(23).is_some_and(|what| what.contains("xt_recent")));
        assert_eq!(cannot(10), None);
    });
}

/// What others may do, as text for `iptables-restore --noflush`.
const EDITS: &[&str] = &[
    "*nat\n-F KUBE-SERVICES\nCOMMIT\n",
    "*nat\n-F\nCOMMIT\n",
    "*nat\n-F\n-X\nCOMMIT\n",
    "*filter\n-F\n-X\nCOMMIT\n",
    "*filter\n-F FORWARD\nCOMMIT\n",
    "*filter\n-D INPUT 1\nCOMMIT\n",
    // A jump twice, and another's rule before all.
    "*nat\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-I PREROUTING -p icmp -j ACCEPT\nCOMMIT\n",
    // A rule too many, and one that is no longer last.
    "*nat\n-I KUBE-SERVICES -d 10.96.0.10/32 -j RETURN\n-A KUBE-SERVICES -d 10.96.0.99/32 -j RETURN\nCOMMIT\n",
    "*filter\n-I KUBE-SERVICES -d 10.96.0.10/32 -m comment --comment \"no such port of a cluster IP\" -j REJECT\nCOMMIT\n",
    // The same rule moved to the front.
    "*filter\n-D KUBE-SERVICES -d 10.96.0.10/32 -m comment --comment \"no such port of a cluster IP\" -j REJECT\n-I KUBE-SERVICES -d 10.96.0.10/32 -m comment --comment \"no such port of a cluster IP\" -j REJECT\nCOMMIT\n",
    // A chain of a Service that is gone, with one that leads to it.
    "*nat\n:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA\nCOMMIT\n",
    // The mark is given another bit.
    "*nat\n-F KUBE-MARK-MASQ\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8000/0x8000\nCOMMIT\n",
    "*nat\n-I KUBE-POSTROUTING -j RETURN\nCOMMIT\n",
];

#[test]
fn what_others_do_to_the_rules_is_repaired() {
    let name = "iptables::kernel::what_others_do_to_the_rules_is_repaired";
    with_backends(name, |mut backend| {
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let mut mode = backend.mode();
        mode.sync(&catalog, &dirty).expect("synced");
        let ours = |mut state: BTreeMap<String, Vec<String>>| {
            for (chain, rules) in &mut state {
                if chain.contains("KUBE-") {
                    continue;
                }
                rules.retain(|rule| rule.contains("-j KUBE-"));
            }
            for shared in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"] {
                for (_, rules) in state.iter_mut().filter(|(c, _)| c.ends_with(shared)) {
                    let last =
                        |rule: &String| rule.contains("NOTE: ") || rule.contains("no such port");
                    rules.sort_by_key(|rule| (last(rule), rule.clone()));
                }
            }
            state
        };
        let is_ordered = |state: &BTreeMap<String, Vec<String>>| {
            let last = |rule: &String| rule.contains("NOTE: ") || rule.contains("no such port");
            state.values().all(|rules| rules.is_sorted_by_key(last))
        };
        let wanted = ours(backend.state());
        for edit in EDITS {
            backend.edit(edit);
            mode.distrust();
            mode.sync(&catalog, &Dirty::default()).expect("repaired");
            let state = backend.state();
            assert!(is_ordered(&state), "{:?}\n{edit}\n{state:#?}", backend.restore);
            assert_eq!(ours(state), wanted, "{:?}\n{edit}", backend.restore);
            let before = mode.transactions();
            mode.distrust();
            mode.sync(&catalog, &Dirty::default()).expect("looked at");
            assert_eq!(mode.transactions(), before, "repaired again\n{edit}");
        }
        remove(mode.rules()).expect("removed");
        backend.edit("*nat\n-F\nCOMMIT\n*filter\n-F\nCOMMIT\n");
    });
}

#[test]
fn nothing_is_left_and_nothing_foreign_touched() {
    let name = "iptables::kernel::nothing_is_left_and_nothing_foreign_touched";
    with_backends(name, |mut backend| {
        backend.edit(FOREIGN);
        let before = backend.state();
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let mut mode = backend.mode();
        mode.sync(&catalog, &dirty).expect("synced");
        let with = backend.state();
        for (chain, rules) in &before {
            let of_others =
                |rule: &&String| !rule.contains("-j KUBE-") || rule.contains("KUBE-SVC-MINE");
            let now: Vec<&String> = with[chain].iter().filter(of_others).collect();
            assert_eq!(now, rules.iter().collect::<Vec<_>>(), "{chain}");
        }
        // A stock kube-proxy's jump has its conditions in another order.
        backend.edit("*filter\n-I FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\nCOMMIT\n");
        remove(mode.rules()).expect("removed");
        assert_eq!(backend.state(), before);
        remove(mode.rules()).expect("nothing to remove");
        assert_eq!(backend.state(), before);
        backend.edit("*nat\n-F\n-X\nCOMMIT\n*filter\n-F\n-X\nCOMMIT\n");
    });
}

#[test]
fn a_chain_that_others_lead_to_stays_and_is_empty() {
    let name = "iptables::kernel::a_chain_that_others_lead_to_stays_and_is_empty";
    with_backends(name, |mut backend| {
        let mut catalog = table::catalog_of(objects::changes(
            "svc a 10.96.0.1 80/tcp\nep a 10.244.1.11:8080 node-1",
        ));
        let dirty = catalog.take_dirty();
        let mut mode = backend.mode();
        mode.sync(&catalog, &dirty).expect("synced");
        let chain = backend.state().into_keys().find(|chain| chain.contains("KUBE-SVC-"));
        let chain = chain.expect("a Service's chain").replace("nat ", "");
        backend.edit(&format!("*nat\n:MINE - [0:0]\n-A MINE -j {chain}\nCOMMIT\n"));
        let none = table::catalog_of(Vec::new());
        mode.distrust();
        mode.sync(&none, &Dirty::default()).expect("synced");
        assert_eq!(backend.state()[&format!("nat {chain}")], Vec::<String>::new());
        remove(mode.rules()).expect("removed");
        let left: Vec<String> =
            backend.state().into_keys().filter(|c| c.contains("KUBE-")).collect();
        assert_eq!(left, [format!("nat {chain}")]);
        backend.edit("*nat\n-F\n-X\nCOMMIT\n");
    });
}
