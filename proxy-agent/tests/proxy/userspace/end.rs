//! What is left when the agent ends, and what the next one makes of it.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use proxy_agent::mode::userspace::limits::Limits;
use proxy_agent::mode::userspace::{self, TABLE};
use proxy_agent::nft::kernel::Kernel;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;

use super::{Agent, NODE, POD, WEB};
use crate::network::{self, Network, ask_tcp};

/// Set in the process that is killed.
const VICTIM: &str = "CORACLE_TEST_USERSPACE_VICTIM";
const NAME: &str = "userspace::end::the_next_agent_mends_what_a_killed_one_has_left";
const OBJECTS: &str = "svc web 10.96.0.10 80/tcp\nep web 10.244.1.11:8080 node-1";

fn has_table() -> bool {
    let mut netlink = Netlink::open(Family::V4, TABLE).expect("netlink");
    netlink.dump().expect("a dump").table
}

#[test]
fn an_agent_that_ends_leaves_no_rule() {
    let name = "userspace::end::an_agent_that_ends_leaves_no_rule";
    network::in_namespaces(name, || {
        let network = Network::new();
        let agent = Agent::new(Limits::default(), OBJECTS);
        assert!(has_table());
        network.from(POD, || ask_tcp(WEB)).expect("an answer");
        drop(agent);
        assert!(!has_table());
    });
}

#[test]
fn cleanup_removes_what_a_killed_agent_has_left() {
    let name = "userspace::end::cleanup_removes_what_a_killed_agent_has_left";
    network::in_namespaces(name, || {
        let _network = Network::new();
        std::mem::forget(Agent::new(Limits::default(), OBJECTS));
        assert!(has_table());
        userspace::cleanup(Family::V4).expect("cleaned");
        assert!(!has_table());
        userspace::cleanup(Family::V4).expect("nothing to do");
    });
}

/// Serves until it is killed.
fn be_killed() -> ! {
    let _agent = Agent::new(Limits::default(), OBJECTS);
    println!("\nworking");
    std::io::stdout().flush().expect("stdout");
    loop {
        std::thread::park();
    }
}

#[test]
fn the_next_agent_mends_what_a_killed_one_has_left() {
    if std::env::var_os(VICTIM).is_some() {
        be_killed();
    }
    network::in_namespaces(NAME, || {
        let network = Network::new();
        let mut victim = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("own program");
        let output = victim.stdout.take().expect("its output");
        let works = std::io::BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "working");
        assert!(works, "the agent never began");
        network.from(POD, || ask_tcp(WEB)).expect("an answer");
        victim.kill().expect("killed");
        victim.wait().expect("its end");
        assert!(has_table());
        let error = network.from(NODE, || ask_tcp(WEB)).expect_err("nobody");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

        let agent = Agent::new(Limits::default(), OBJECTS);
        network.from(POD, || ask_tcp(WEB)).expect("an answer");
        drop(agent);
        assert!(!has_table());
    });
}
