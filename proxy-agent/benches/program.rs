//! How long the kernel takes to have it: a full load and one endpoint's change, from
//! decoded objects to the acknowledged transaction, beside a layout of one chain per
//! Service loaded with `nft -f` in the same run; memory and processor time; a connection
//! through the rules beside one without any. Works in a network namespace of its own;
//! asserts nothing.
//!
//! `cargo bench -p proxy-agent -- [SERVICES…] [--baseline SERVICES]`

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use proxy_agent::catalog::{Catalog, Change, ServiceName};
use proxy_agent::dnat::Table;
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;
use proxy_agent::settings::{LocalTraffic, Settings};

const INSIDE: &str = "CORACLE_BENCH_INSIDE";
const ENDPOINTS: usize = 5;
const CHANGES: u32 = 200;

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        return start_inside();
    }
    let mut sizes = Vec::new();
    let mut baseline = 1_000;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let number = |text: Option<String>| text.and_then(|n| n.parse::<usize>().ok());
        match argument.as_str() {
            "--baseline" => baseline = number(arguments.next()).unwrap_or(baseline),
            "--one" => return one_size(number(arguments.next()).expect("a size")),
            size => sizes.extend(size.parse::<usize>()),
        }
    }
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 50_000];
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
        // A process of its own, whose memory is this size's alone.
        let output = Command::new(std::env::current_exe().expect("own path"))
            .args(["--one", &size.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .expect("own program");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (figures, rest) = text.split_once('\n').unwrap_or((&text, ""));
        print!("{rest}");
        let seconds: Vec<f64> = figures.split(' ').filter_map(|n| n.parse().ok()).collect();
        if let ([load, change], Some(base)) = (&seconds[..], base) {
            let per_service = (base.0.as_secs_f64() / baseline as f64) / (load / size as f64);
            println!(
                "       against {baseline} Services of the other: {per_service:.1}x as fast to load each, change {:.0}x as fast",
                base.1.as_secs_f64() / change
            );
        }
    }
}

/// Figures of one size; the first line is load and change in seconds, for the ratio.
fn one_size(size: usize) {
    let (ours, mut catalog, mut table) = value_maps(size);
    println!("{} {}", ours.load.as_secs_f64(), ours.change.as_secs_f64());
    println!(
        "{size:>6} Services, value maps, netlink:   load {:>9.1?}  change {:>9.1?}  (of the load: catalog {:.1?}; restart, which dumps and compares: {:.1?})",
        ours.load, ours.change, ours.catalog, ours.restart
    );
    println!(
        "       memory {:.1} MB, processor {:.2} s for the load",
        ours.memory_bytes as f64 / 1e6,
        ours.processor.as_secs_f64()
    );
    match connections(&mut catalog, &mut table) {
        Ok([none, beside, through]) => println!(
            "       a connection: without rules {none:.1?}, beside the rules {beside:.1?}, through a cluster IP {through:.1?} ({:.2}x)",
            through.as_secs_f64() / none.as_secs_f64()
        ),
        Err(error) => println!("       CONNECTIONS SKIPPED: {error}"),
    }
    if size == 1_000 {
        for count in [1_000, 5_000] {
            let change = large_service(count);
            println!("       one Service of {count} endpoints: change {change:.1?}");
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
    Change::Slice(Box::new(serde_json::from_value(object).expect("an EndpointSlice")))
}

struct Figures {
    catalog: Duration,
    load: Duration,
    change: Duration,
    restart: Duration,
    memory_bytes: usize,
    processor: Duration,
}

fn table() -> Table<Netlink> {
    let settings = Settings {
        local_traffic: LocalTraffic::Network("10.0.0.0/8".parse().expect("a network")),
        ..Settings::new(Family::V4)
    };
    Table::new(settings, Netlink::open(Family::V4, TABLE).expect("netlink"))
}

/// Resident memory of this process; a page is 4 KiB where this runs.
fn memory_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}

/// Time on a processor so far, to 10 ms.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let times = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn value_maps(size: usize) -> (Figures, Catalog, Table<Netlink>) {
    cleanup(Family::V4).expect("an empty table");
    let mut catalog = Catalog::new("node");
    for index in 0..size {
        catalog.apply(service(index));
        let addresses: Vec<_> = (1..=ENDPOINTS).map(|net| address(index, net as u8)).collect();
        catalog.apply(slice(index, &format!("s{index}-a"), &addresses));
    }
    let mut ours = table();
    let processor = processor_time();
    let begin = Instant::now();
    let all = catalog.take_dirty();
    let model_time = begin.elapsed();
    ours.sync(&catalog, &all).expect("loaded");
    let load = begin.elapsed();
    let processor = processor_time() - processor;
    drop(all);
    while ours.needs_sweep() {
        ours.sweep().expect("swept");
    }
    let memory_bytes = memory_bytes();
    let mut changing = Duration::ZERO;
    for round in 0..CHANGES / 2 {
        let index = round as usize * 7 % size;
        let name = format!("s{index}-b");
        let gone = ServiceName { namespace: "default".to_owned(), name: name.clone() };
        for change in [slice(index, &name, &["10.9.9.9".to_owned()]), Change::SliceGone(gone)] {
            let begin = Instant::now();
            catalog.apply(change);
            let dirty = catalog.take_dirty();
            ours.sync(&catalog, &dirty).expect("changed");
            changing += begin.elapsed();
            while ours.needs_sweep() {
                ours.sweep().expect("swept");
            }
        }
    }
    let mut again = table();
    let begin = Instant::now();
    again.sync(&catalog, &Default::default()).expect("compared");
    let restart = begin.elapsed();
    let figures = Figures {
        catalog: model_time,
        load,
        change: changing / CHANGES,
        restart,
        memory_bytes,
        processor,
    };
    (figures, catalog, again)
}

/// One endpoint's change in a Service of `count`, a hundred a slice.
fn large_service(count: usize) -> Duration {
    cleanup(Family::V4).expect("an empty table");
    let mut catalog = Catalog::new("node");
    catalog.apply(service(0));
    for part in 0..count / 100 {
        let addresses = (part * 100..part * 100 + 100).map(|index| address(index, 1));
        let addresses: Vec<_> = addresses.collect();
        catalog.apply(slice(0, &format!("s0-{part}"), &addresses));
    }
    let mut ours = table();
    let all = catalog.take_dirty();
    ours.sync(&catalog, &all).expect("loaded");
    let mut changing = Duration::ZERO;
    for round in 0..CHANGES {
        let more = ["10.9.9.9".to_owned()];
        let change = slice(0, "s0-more", &more[..(round % 2) as usize]);
        let begin = Instant::now();
        catalog.apply(change);
        let dirty = catalog.take_dirty();
        ours.sync(&catalog, &dirty).expect("changed");
        changing += begin.elapsed();
        while ours.needs_sweep() {
            ours.sweep().expect("swept");
        }
    }
    changing / CHANGES
}

/// Medians of connections to a listener on this node: through a cluster IP among the rules
/// that are loaded, straight to it, and straight to it once there are no rules.
fn connections(catalog: &mut Catalog, table: &mut Table<Netlink>) -> io::Result<[Duration; 3]> {
    const ENDPOINT: &str = "10.1.0.1";
    for arguments in [
        "link set lo up".to_owned(),
        format!("addr replace {ENDPOINT}/32 dev lo"),
        format!("route replace 10.96.0.0/16 dev lo src {ENDPOINT}"),
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("ip {arguments}: {status}")));
        }
    }
    let listener = TcpListener::bind((ENDPOINT, 8080))?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let straight = format!("{ENDPOINT}:8080").parse().expect("an address");
    // The Service gets this endpoint alone.
    catalog.apply(slice(0, "s0-a", &[ENDPOINT.to_owned()]));
    let service = "10.96.0.1:80".parse().expect("an address");
    let dirty = catalog.take_dirty();
    table.sync(catalog, &dirty).map_err(io::Error::other)?;
    let through = median(service)?;
    let beside = median(straight)?;
    cleanup(Family::V4).map_err(io::Error::other)?;
    let none = median(straight)?;
    Ok([none, beside, through])
}

fn median(to: SocketAddr) -> io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let begin = Instant::now();
        let stream = TcpStream::connect(to)?;
        times.push(begin.elapsed());
        drop(stream);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
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
    let Ok(mut child) = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn() else {
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
