//! The plan as a script: `nft` takes it, and a kernel that has loaded it has what the mode
//! itself would have put there. Never checks what packets do.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use proxy_agent::mode::Mode;
use proxy_agent::mode::nftables::kernel::Kernel;
use proxy_agent::mode::nftables::netlink::Netlink;
use proxy_agent::mode::nftables::set::SETS;
use proxy_agent::mode::nftables::{Table, render};
use proxy_agent::model::Family;

use super::memory_kernel::MemoryKernel;
use super::{network, objects, table};

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

fn must(arguments: &[&str], script: &str) {
    let output = nft(arguments, script).expect("nft");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {said}");
}

#[test]
fn nft_takes_the_plan_of_every_group() {
    network::in_namespaces("script::nft_takes_the_plan_of_every_group", || {
        if nft(&["-v"], "").is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "`nft` is missing: install nftables"
            );
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: `nft` is missing: install nftables"
            );
            return;
        }
        for group in table::groups() {
            let mut model = table::model_of(objects::changes(group.objects));
            let dirty = model.take_dirty();
            for family in [Family::V4, Family::V6] {
                let settings = group.settings_of(family);
                let script = render(&settings, &model);
                must(&["-c", "-f", "-"], &script);
                must(&["-f", "-"], &script);
                let mut netlink = Netlink::open(family).expect("netlink");
                let loaded = netlink.dump(&settings).expect("a dump");
                let mut wanted = Table::new(settings, MemoryKernel::default());
                wanted.sync(&model, &dirty).expect("synced");
                let wanted = &wanted.kernel().ruleset;
                assert_eq!(loaded.sets, wanted.sets, "{}", group.name);
                for set in SETS {
                    let [loaded, wanted] =
                        [&loaded, wanted].map(|ruleset| ruleset.elements(set).collect::<Vec<_>>());
                    assert_eq!(loaded, wanted, "{}: {}", group.name, set.as_str());
                }
                let chains = |ruleset: &proxy_agent::mode::nftables::ruleset::Ruleset| {
                    let chains = ruleset.chains.iter();
                    chains
                        .map(|(name, chain)| (name.clone(), chain.hook, chain.rules.len()))
                        .collect::<Vec<_>>()
                };
                assert_eq!(chains(&loaded), chains(wanted), "{}", group.name);
            }
        }
    });
}
