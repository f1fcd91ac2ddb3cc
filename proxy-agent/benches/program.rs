//! How long the kernel takes to have it: a full load and one endpoint's change,
//! beside a layout of one chain per Service loaded with `nft -f` in the same run.
//! Works in a network namespace of its own; asserts nothing.
//!
//! `cargo bench -p proxy-agent -- [SERVICES…] [--baseline SERVICES]`

use std::fmt::Write as _;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use proxy_agent::mode::Mode;
use proxy_agent::mode::nftables::Table;
use proxy_agent::mode::nftables::netlink::Netlink;
use proxy_agent::mode::{LocalTraffic, Settings};
use proxy_agent::model::{Change, Family, Model, ServiceName};

const INSIDE: &str = "CORACLE_BENCH_INSIDE";
const ENDPOINTS: usize = 5;
const CHANGES: u32 = 200;

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        return start_inside();
    }
    let mut sizes = Vec::new();
    let mut baseline = 1_000;
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--baseline" => {
                baseline = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(baseline)
            }
            number => sizes.extend(number.parse::<usize>()),
        }
    }
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000];
    }
    println!(
        "{ENDPOINTS} endpoints a Service; change: one endpoint more, and its removal, mean of {CHANGES}"
    );
    let base = per_service_chains(baseline);
    if let Some((load, change)) = base {
        println!(
            "{baseline:>6} Services, a chain each, nft -f: load {load:>9.1?}  change {change:>9.1?}"
        );
    }
    for size in sizes {
        let ours = value_maps(size);
        println!(
            "{size:>6} Services, value maps, netlink:   load {:>9.1?}  change {:>9.1?}  (plan {:?}, dump and compare {:?})",
            ours.load, ours.change, ours.model, ours.restart
        );
        if let Some((load, change)) = base {
            println!(
                "       against {baseline} Services of the other: load {:.0}x, change {:.0}x as fast",
                load.as_secs_f64() / ours.load.as_secs_f64(),
                change.as_secs_f64() / ours.change.as_secs_f64()
            );
        }
    }
}

/// The same program again, in namespaces of its own.
fn start_inside() {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let (uid_map, gid_map) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(std::env::args().skip(1)).env(INSIDE, "1");
    let enter = move || -> io::Result<()> {
        // `nft` needs a large socket buffer, which only real root may have.
        if uid.is_root() {
            return Ok(unshare(CloneFlags::CLONE_NEWNET)?);
        }
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", &gid_map)?;
        std::fs::write("/proc/self/uid_map", &uid_map)
    };
    // SAFETY: between fork and exec only system calls are made; the texts were
    // formatted before.
    match unsafe { command.pre_exec(enter) }.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => println!("SKIPPED: no user and network namespace of its own: {error}"),
    }
}

fn address(index: usize, net: u8) -> String {
    format!("10.{net}.{}.{}", index / 250, index % 250 + 1)
}

fn service(index: usize) -> Change {
    let ip = address(index, 96);
    let object = serde_json::json!({
        "metadata": { "namespace": "default", "name": format!("s{index}") },
        "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [{ "port": 80, "protocol": "TCP" }] },
    });
    Change::Service(Box::new(serde_json::from_value(object).expect("a Service")))
}

fn slice(index: usize, name: &str, addresses: &[String]) -> Change {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|address| serde_json::json!({ "addresses": [address], "nodeName": "elsewhere" }))
        .collect();
    let object = serde_json::json!({
        "metadata": { "namespace": "default", "name": name, "labels": { "kubernetes.io/service-name": format!("s{index}") } },
        "addressType": "IPv4", "ports": [{ "name": "", "port": 8080 }], "endpoints": endpoints,
    });
    Change::Slice(Box::new(
        serde_json::from_value(object).expect("an EndpointSlice"),
    ))
}

struct Figures {
    model: Duration,
    load: Duration,
    change: Duration,
    restart: Duration,
}

fn value_maps(size: usize) -> Figures {
    let settings = || Settings {
        local_traffic: LocalTraffic::Network("10.0.0.0/8".parse().expect("a network")),
        ..Settings::new(Family::V4)
    };
    let table = || Table::new(settings(), Netlink::open(Family::V4).expect("netlink"));
    table()
        .sync(&Model::new("node"), &Default::default())
        .expect("emptied");
    let mut model = Model::new("node");
    for index in 0..size {
        model.apply(service(index));
        let addresses: Vec<_> = (1..=ENDPOINTS)
            .map(|net| address(index, net as u8))
            .collect();
        model.apply(slice(index, &format!("s{index}-a"), &addresses));
    }
    let begin = Instant::now();
    let all = model.take_dirty();
    let model_time = begin.elapsed();
    let mut ours = table();
    let begin = Instant::now();
    ours.sync(&model, &all).expect("loaded");
    let load = begin.elapsed();
    while ours.needs_sweep() {
        ours.sweep(&model).expect("swept");
    }
    let mut changing = Duration::ZERO;
    for round in 0..CHANGES / 2 {
        let index = round as usize * 7 % size;
        let name = format!("s{index}-b");
        let gone = ServiceName {
            namespace: "default".to_owned(),
            name: name.clone(),
        };
        for change in [
            slice(index, &name, &["10.9.9.9".to_owned()]),
            Change::SliceGone(gone),
        ] {
            let begin = Instant::now();
            model.apply(change);
            let dirty = model.take_dirty();
            ours.sync(&model, &dirty).expect("changed");
            changing += begin.elapsed();
            while ours.needs_sweep() {
                ours.sweep(&model).expect("swept");
            }
        }
    }
    let mut again = table();
    let begin = Instant::now();
    again.sync(&model, &Default::default()).expect("compared");
    let restart = begin.elapsed();
    Figures {
        model: model_time,
        load,
        change: changing / CHANGES,
        restart,
    }
}

/// One chain and one anonymous map per Service, as is usual.
fn per_service_chains(size: usize) -> Option<(Duration, Duration)> {
    let chain = |text: &mut String, index: usize, endpoints: usize| {
        let choices: Vec<_> = (0..endpoints)
            .map(|slot| format!("{slot} : {} . 8080", address(index, slot as u8 + 1)))
            .collect();
        let _ = writeln!(
            text,
            "add rule ip base svc{index} meta l4proto tcp dnat ip to numgen random mod {endpoints} map {{ {} }}",
            choices.join(", ")
        );
    };
    let mut text = "add table ip base\nadd map ip base services { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
        add chain ip base prerouting { type nat hook prerouting priority -100; }\n\
        add rule ip base prerouting ip daddr . meta l4proto . th dport vmap @services\n"
        .to_owned();
    for index in 0..size {
        let _ = writeln!(text, "add chain ip base svc{index}");
        chain(&mut text, index, ENDPOINTS);
        let _ = writeln!(
            text,
            "add element ip base services {{ {} . tcp . 80 : goto svc{index} }}",
            address(index, 96)
        );
    }
    let load = nft(&text)?;
    let mut changing = Duration::ZERO;
    const FEW: u32 = 4;
    for round in 0..FEW as usize {
        let mut text = format!("flush chain ip base svc{round}\n");
        chain(&mut text, round, ENDPOINTS + 1);
        changing += nft(&text)?;
    }
    nft("delete table ip base\n")?;
    Some((load, changing / FEW))
}

fn nft(text: &str) -> Option<Duration> {
    use io::Write;
    let begin = Instant::now();
    let Ok(mut child) = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
    else {
        println!("BASELINE SKIPPED: `nft` is missing: install nftables");
        return None;
    };
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let status = child.wait().ok()?;
    if !status.success() {
        println!("BASELINE SKIPPED: nft -f failed: {status}");
        return None;
    }
    Some(begin.elapsed())
}
