//! An agent that is killed at any moment loses no connection, and the next one
//! finds the table as it should be.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proxy_agent::dnat::Table;
use proxy_agent::mode::nftables::TABLE;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;

use super::network::{self, Network};
use super::{objects, table};

/// Set in the process that is killed: what its choices begin with.
const VICTIM: &str = "CORACLE_TEST_VICTIM";
const KILLS: u64 = 50;
const NAME: &str = "kill::fifty_kills_lose_no_connection";
const ENDPOINTS: [&str; 3] = ["10.244.1.11:8080", "10.244.1.12:8080", "10.244.2.11:8080"];

/// xorshift: enough for choices, and the same each time for a seed.
pub struct Choices(pub u64);

impl Choices {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A Service with some of the endpoints, at least one, and some others beside it.
fn objects_of(choice: u64) -> String {
    let mut text = "svc web 10.96.0.10 80/tcp\n".to_owned();
    if choice & 8 != 0 {
        text = "svc web 10.96.0.10 80/tcp affinity=60\n".to_owned();
    }
    let which = choice % 7 + 1;
    for (bit, endpoint) in ENDPOINTS.iter().enumerate() {
        if which & 1 << bit != 0 {
            text += &format!("ep web {endpoint} node-1\n");
        }
    }
    for index in 0..20 {
        text += &format!(
            "svc s{index} 10.96.1.{} 80/tcp\nep s{index} 10.244.2.{}:80 node-2\n",
            index + 1,
            choice % 200 + 1
        );
    }
    text
}

/// Changes endpoints without end, as an agent does.
fn be_killed(seed: u64) -> ! {
    let mut choices = Choices(seed);
    let mut catalog = table::catalog_of(objects::changes(&objects_of(choices.next())));
    let mut table =
        Table::new(table::settings(), Netlink::open(Family::V4, TABLE).expect("netlink"));
    println!("\nworking");
    std::io::stdout().flush().expect("stdout");
    loop {
        let dirty = catalog.take_dirty();
        table.sync(&catalog, &dirty).expect("synced");
        std::thread::sleep(Duration::from_millis(choices.next() % 8));
        table.sweep().expect("swept");
        objects::changes(&objects_of(choices.next()))
            .into_iter()
            .for_each(|change| catalog.apply(change));
    }
}

fn kill_one(seed: u64, choices: &mut Choices) {
    use std::io::BufRead;
    let mut victim = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(VICTIM, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("own program");
    let output = victim.stdout.take().expect("its output");
    let works =
        std::io::BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "working");
    assert!(works, "the agent of seed {seed} never began");
    std::thread::sleep(Duration::from_micros(choices.next() % 30_000));
    victim.kill().expect("killed");
    victim.wait().expect("its end");
}

fn settle(choice: u64) -> u32 {
    let mut catalog = table::catalog_of(objects::changes(&objects_of(choice)));
    let dirty = catalog.take_dirty();
    let mut table =
        Table::new(table::settings(), Netlink::open(Family::V4, TABLE).expect("netlink"));
    table.sync(&catalog, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
    table.kernel().generation().expect("a generation")
}

#[test]
fn fifty_kills_lose_no_connection() {
    if let Some(seed) = std::env::var(VICTIM).ok().and_then(|seed| seed.parse().ok()) {
        be_killed(seed);
    }
    network::in_namespaces(NAME, || {
        let network = Network::new();
        network.refuse_beyond("10.96.0.0/16");
        settle(7);
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let failures = network.start(IpAddr::from([10, 244, 1, 11]), {
            let (stop, connections) = (stop.clone(), connections.clone());
            move || {
                let to = SocketAddr::from(([10, 96, 0, 10], 80));
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match network::ask_tcp(to) {
                        Ok(_) => connections.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            failures.push(error.to_string());
                            0
                        }
                    };
                }
                failures
            }
        });
        let mut choices = Choices(0x9e37_79b9_7f4a_7c15);
        for kill in 1..=KILLS {
            kill_one(kill.wrapping_mul(0x1234_5678_9abc_def1), &mut choices);
        }
        stop.store(true, Ordering::Relaxed);
        let failures = failures.recv().expect("the client's account");
        let connections = connections.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {connections} failed: {failures:?}", failures.len());
        assert!(connections > KILLS as usize, "only {connections} connections were tried");
        println!("{connections} connections over {KILLS} kills");

        let generation = settle(15);
        assert_eq!(settle(15), generation, "a restart without a change changed the ruleset");
    });
}
