//! What the agent takes away: its own, and nothing else.

use std::process::Command;

use serde_json::json;

use super::super::network::in_namespaces;
use super::api::Api;
use super::process::{Agent, output, set_up_loopback};

fn clean_up(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_proxy-agent"))
        .args(arguments)
        .output()
        .expect("the agent's own binary");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn cleanup_removes_what_the_agent_has_made_and_nothing_else() {
    const NAME: &str =
        "operations::cleaning::cleanup_removes_what_the_agent_has_made_and_nothing_else";
    in_namespaces(NAME, || {
        set_up_loopback();
        output("nft", "add table ip somebody");
        output("nft", "add chain ip somebody else");
        output("nft", "add rule ip somebody else counter accept");
        let foreign = output("nft", "list ruleset");
        let api = Api::start();
        api.put(
            "services",
            json!({
                "metadata": {"namespace": "default", "name": "web"},
                "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
            }),
        );
        for arguments in [["cleanup"], ["--cleanup"]] {
            let agent = Agent::start(&api, &[]);
            agent.wait_until_ready();
            drop(agent);
            let left = output("nft", "list ruleset");
            assert!(left.contains("coracle-proxy"), "the rules did not stay: {left}");
            let said = clean_up(&arguments);
            assert_eq!(output("nft", "list ruleset"), foreign);
            assert!(said.contains("nftables IPv4: removed\n"), "{said}");
            assert!(said.contains("userspace IPv4: nothing there\n"), "{said}");
        }
        // Where there is nothing, that is no error.
        let said = clean_up(&["cleanup"]);
        assert!(!said.contains("removed"), "{said}");
        assert_eq!(output("nft", "list ruleset"), foreign);
    });
}

#[test]
fn who_may_not_look_does_not_say_that_there_is_nothing() {
    const NAME: &str = "operations::cleaning::who_may_not_look_does_not_say_that_there_is_nothing";
    in_namespaces(NAME, || {
        // Another user namespace has no rights in this network namespace.
        let output = Command::new("unshare")
            .args(["--user", env!("CARGO_BIN_EXE_proxy-agent"), "cleanup"])
            .output()
            .expect("unshare");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{said}");
        for mode in ["nftables", "ipvs", "userspace"] {
            let line = format!("{mode} IPv4: not removed: ");
            assert!(said.contains(&line), "{said}");
        }
    });
}

/// With the first rules of the new mode the former mode's go, and not before.
#[test]
fn a_mode_gives_way_to_one_that_works() {
    const NAME: &str = "operations::cleaning::a_mode_gives_way_to_one_that_works";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put(
            "services",
            json!({
                "metadata": {"namespace": "default", "name": "web"},
                "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
            }),
        );
        let tables = || output("nft", "list tables");
        let agent = Agent::start(&api, &[]);
        agent.wait_until_ready();
        drop(agent);
        assert!(tables().contains("coracle-proxy"));

        // Node port addresses that the Node never names: not opened yet.
        let agent = Agent::start(&api, &["--proxy-mode=userspace", "--nodeport-addresses=primary"]);
        agent.wait("it to say what it waits for", || {
            agent.log().contains("waiting for the Node's").then_some(())
        });
        drop(agent);
        assert!(tables().contains("coracle-proxy"));

        let agent = Agent::start(&api, &["--proxy-mode=userspace"]);
        agent.wait_until_ready();
        agent
            .wait("the former rules to go", || (!tables().contains("coracle-proxy")).then_some(()));
        assert!(tables().contains("coracle-userspace"));
        assert!(agent.log().contains("removed what mode nftables IPv4 had left"));
    });
}
