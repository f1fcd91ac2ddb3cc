//! The plan as a script: `nft` takes it, and a kernel that has loaded it has what the mode
//! itself would have put there, and does the same. Never says what that is.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::{Table, preview};
use proxy_agent::loopback;
use proxy_agent::mode::nftables::{self, TABLE};
use proxy_agent::nft::kernel::Kernel;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::nft::ruleset::Ruleset;
use proxy_agent::nft::set::SETS;
use proxy_agent::routes::Dirty;
use proxy_agent::settings::Settings;

use super::memory_kernel::MemoryKernel;
use super::{network, table};

/// Runs `nft`. Debian keeps it where an ordinary user's path does not go.
pub fn nft(arguments: &[&str], script: &str) -> std::io::Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = Command::new("nft")
        .env("PATH", path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes())?;
    drop(input);
    child.wait_with_output()
}

/// Whether there is `nft`; if not: said aloud, or a failure in CI.
pub fn has_nft(test: &str) -> bool {
    let has = nft(&["-v"], "").is_ok();
    if !has {
        assert!(std::env::var_os("CI").is_none(), "`nft` is missing");
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: install nftables");
    }
    has
}

fn must(arguments: &[&str], script: &str) {
    let output = nft(arguments, script).expect("nft");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {said}");
}

/// Loads the script in place of what is there, and compares.
fn load(settings: &Settings, catalog: &Catalog, dirty: &Dirty) {
    let script = preview::render(TABLE, settings, catalog);
    must(&["-c", "-f", "-"], &script);
    nftables::cleanup(settings.family).expect("nothing there");
    must(&["-f", "-"], &script);
    loopback::allow(settings).expect("a setting of the kernel");

    let mut netlink = Netlink::open(settings.family, TABLE).expect("netlink");
    let loaded = netlink.dump().expect("a dump");
    let mut wanted = Table::new(settings.clone(), MemoryKernel::default());
    wanted.sync(catalog, dirty).expect("synced");
    let wanted = &wanted.kernel().ruleset;
    assert_eq!(loaded.sets, wanted.sets);
    for set in SETS {
        let [loaded, wanted] =
            [&loaded, wanted].map(|ruleset| ruleset.elements(set).collect::<Vec<_>>());
        assert_eq!(loaded, wanted, "{}", set.as_str());
    }
    let chains = |ruleset: &Ruleset| {
        let chains = ruleset.chains.iter();
        chains
            .map(|(name, chain)| (name.clone(), chain.hook, chain.rules.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(chains(&loaded), chains(wanted));
}

#[test]
fn a_kernel_that_nft_has_given_the_plan_does_what_the_table_says() {
    let name = "script::a_kernel_that_nft_has_given_the_plan_does_what_the_table_says";
    network::in_namespaces(name, || {
        if has_nft(name) {
            table::check_installed("nftables", |settings, catalog, dirty| {
                load(&settings, catalog, dirty);
            });
        }
    });
}
