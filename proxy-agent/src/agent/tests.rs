//! The loop against a mode that fails on demand. Never touches a kernel.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Agent;
use crate::catalog::{Catalog, Change};
use crate::conntrack::{Cleaned, Wanted};
use crate::explain::desk::Desk;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{Mode, nftables};
use crate::netlink::KernelError;
use crate::routes::{Destination, Dirty, Family};
use crate::settings::Settings;
use crate::watch::{KINDS, Report};

/// What was asked of the mode, and how often it still refuses.
#[derive(Default)]
struct Account {
    failures_left: usize,
    /// When, and how many destinations were said to have changed.
    syncs: Vec<(Instant, usize)>,
    distrusts: usize,
    /// Somebody else has changed the rules since the last sync.
    is_disturbed: bool,
    /// Until the next sweep.
    needs_sweep: bool,
    /// Told something more at each sync, until a sweep.
    busy: Option<mpsc::Sender<Report>>,
}

/// The mode, and what is readable when somebody has.
struct Unwilling {
    account: Arc<Mutex<Account>>,
    watched: Option<OwnedFd>,
    settings: Settings,
}

impl Unwilling {
    fn new(account: &Arc<Mutex<Account>>, watched: Option<OwnedFd>) -> Unwilling {
        Unwilling::of(Family::V4, account, watched)
    }

    fn of(family: Family, account: &Arc<Mutex<Account>>, watched: Option<OwnedFd>) -> Unwilling {
        Unwilling { account: account.clone(), watched, settings: Settings::new(family) }
    }
}

impl Mode for Unwilling {
    fn name(&self) -> &'static str {
        "unwilling"
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn sync(&mut self, _: &Catalog, dirty: &Dirty) -> anyhow::Result<()> {
        let mut account = self.account.lock().expect("no panic");
        account.is_disturbed = false;
        account.syncs.push((Instant::now(), dirty.destinations.len()));
        if account.failures_left > 0 {
            account.failures_left -= 1;
            anyhow::bail!("not now");
        }
        if let Some(sender) = &account.busy {
            sender.try_send(service(1)).expect("room");
        }
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        let mut account = self.account.lock().expect("no panic");
        account.needs_sweep = false;
        account.busy = None;
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        self.account.lock().expect("no panic").needs_sweep
    }

    fn distrust(&mut self) {
        self.account.lock().expect("no panic").distrusts += 1;
    }

    fn watched(&self) -> Option<OwnedFd> {
        self.watched.as_ref()?.try_clone().ok()
    }

    fn is_disturbed(&mut self) -> bool {
        self.account.lock().expect("no panic").is_disturbed
    }
}

fn agent(modes: Vec<Unwilling>) -> Agent {
    let boxed = |mode| -> Box<dyn Mode> { Box::new(mode) };
    Agent::new(
        Catalog::new("node-1"),
        modes.into_iter().map(boxed).collect(),
        Arc::new(Metrics::new(&nftables::MODE)),
        Arc::new(Health::default()),
        Desk::new().1,
    )
}

/// Has it run, and see an empty cluster; the way to tell it more.
async fn run(mut agent: Agent) -> (mpsc::Sender<Report>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(64);
    let agent = tokio::spawn(async move { agent.run(receiver).await });
    for _ in 1..KINDS {
        sender.send(Report::Synced).await.expect("a running agent");
    }
    (sender, agent)
}

async fn start(mode: Unwilling) -> (mpsc::Sender<Report>, JoinHandle<()>) {
    run(agent(vec![mode])).await
}

fn service(index: u8) -> Report {
    service_of(index, "TCP")
}

fn service_of(index: u8, protocol: &str) -> Report {
    let object = serde_json::json!({
        "metadata": { "namespace": "default", "name": format!("s{index}") },
        "spec": {
            "clusterIP": format!("10.96.0.{index}"),
            "ports": [{ "port": 80, "protocol": protocol }],
        },
    });
    let service: Service = serde_json::from_value(object).expect("a Service");
    Report::Change(Change::Service(Box::new(service)))
}

/// Waits until the account says so; the test's runner ends a test that never does.
async fn until(account: &Mutex<Account>, says: impl Fn(&Account) -> bool) {
    while !says(&account.lock().expect("no panic")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_failing_kernel_is_tried_ever_more_slowly_and_nothing_is_forgotten() {
    let account = Arc::new(Mutex::new(Account { failures_left: 4, ..Account::default() }));
    let (sender, agent) = start(Unwilling::new(&account, None)).await;
    let send = async |report| sender.send(report).await.expect("a running agent");

    send(service(1)).await;
    // Taken, by the one thread that there is, and what follows from it is done.
    while sender.capacity() < sender.max_capacity() {
        tokio::task::yield_now().await;
    }
    let early = account.lock().expect("no panic").syncs.len();
    assert_eq!(early, 0, "synced before all kinds were known");
    send(Report::Synced).await;
    until(&account, |account| account.syncs.len() == 1).await;
    // New changes do not bring the next try forward.
    for index in 2..=9 {
        send(service(index)).await;
    }
    until(&account, |account| account.syncs.len() == 5).await;
    let syncs = account.lock().expect("no panic").syncs.clone();
    let gaps = syncs.windows(2).map(|pair| pair[1].0 - pair[0].0);
    for (gap, at_least) in gaps.zip([100, 200, 400, 800]) {
        assert!(gap >= Duration::from_millis(at_least), "{gap:?}");
    }
    assert_eq!(syncs[4].1, 9, "a change was forgotten");

    // Once it works again, changes are taken at once.
    send(service(10)).await;
    until(&account, |account| account.syncs.len() == 6).await;
    assert_eq!(account.lock().expect("no panic").syncs[5].1, 1);
    drop(sender);
    agent.await.expect("the agent's end");
}

#[tokio::test]
async fn what_others_change_is_repaired_at_once_and_then_at_intervals() {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (watched, alarm) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).expect("a pipe");
    let account = Arc::new(Mutex::new(Account::default()));
    let (sender, agent) = start(Unwilling::new(&account, Some(watched))).await;
    sender.send(Report::Synced).await.expect("a running agent");
    until(&account, |account| account.syncs.len() == 1).await;
    let disturb = || {
        account.lock().expect("no panic").is_disturbed = true;
        rustix::io::write(&alarm, b"x").expect("written");
    };

    // What turns out to be the agent's own change.
    rustix::io::write(&alarm, b"x").expect("written");
    for round in 1..=3 {
        disturb();
        until(&account, |account| account.syncs.len() == 1 + round).await;
        assert_eq!(account.lock().expect("no panic").distrusts, round);
    }
    let syncs = account.lock().expect("no panic").syncs.clone();
    for pair in syncs[1..].windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(gap >= Duration::from_secs(1), "{gap:?}");
    }
    drop(sender);
    agent.await.expect("the agent's end");
}

/// What the agent has asked to be forgotten, in this order.
type Forgotten = Arc<Mutex<Vec<BTreeSet<Destination>>>>;

/// Notes it, and refuses as often.
fn note_forgotten(agent: &mut Agent, refusals: usize) -> Forgotten {
    let forgotten = Forgotten::default();
    let left = Mutex::new(refusals);
    agent.forget = Box::new({
        let forgotten = forgotten.clone();
        move |wanted: &Wanted| {
            let asked = wanted.keys().cloned().collect();
            forgotten.lock().expect("no panic").push(asked);
            let mut left = left.lock().expect("no panic");
            if *left == 0 {
                return Ok(Cleaned::default());
            }
            *left -= 1;
            Err(KernelError::Malformed("not now"))
        }
    });
    forgotten
}

#[tokio::test]
async fn a_family_that_fails_delays_no_other() {
    let [v4, v6] = [0, usize::MAX]
        .map(|failures_left| Arc::new(Mutex::new(Account { failures_left, ..Account::default() })));
    let mut agent =
        agent(vec![Unwilling::of(Family::V6, &v6, None), Unwilling::of(Family::V4, &v4, None)]);
    let health = agent.health.clone();
    let forgotten = note_forgotten(&mut agent, 0);
    let (sender, agent) = run(agent).await;
    sender.send(Report::Synced).await.expect("a running agent");
    let rounds = |account: &Mutex<Account>| account.lock().expect("no panic").syncs.len();
    // One round for each change, while the other family waits for its next try.
    let mut changes = 0;
    while rounds(&v4) < rounds(&v6) + 8 {
        changes += 1;
        let report = service_of(changes, "UDP");
        sender.send(report).await.expect("a running agent");
        until(&v4, |account| account.syncs.iter().any(|s| s.1 == 1)).await;
        tokio::task::yield_now().await;
    }
    assert!(rounds(&v6) >= 1);
    let most = |account: &Mutex<Account>| {
        let account = account.lock().expect("no panic");
        account.syncs.iter().map(|sync| sync.1).max()
    };
    assert_eq!(most(&v6), Some(0), "destinations of the other family");
    assert!(!forgotten.lock().expect("no panic").is_empty());
    assert!(health.is_live() && !health.is_programmed());
    drop(sender);
    agent.await.expect("the agent's end");
}

#[tokio::test]
async fn connections_that_could_not_be_forgotten_are_tried_again() {
    let account = Arc::new(Mutex::new(Account::default()));
    let mut agent = agent(vec![Unwilling::new(&account, None)]);
    let forgotten = note_forgotten(&mut agent, 2);
    let (sender, agent) = run(agent).await;
    sender.send(Report::Synced).await.expect("a running agent");
    let report = service_of(1, "UDP");
    sender.send(report).await.expect("a running agent");
    let tries = || forgotten.lock().expect("no panic").len();
    while tries() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report = service_of(2, "UDP");
    sender.send(report).await.expect("a running agent");
    while tries() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let all = forgotten.lock().expect("no panic").clone();
    assert!(all[0] == all[1] && all[1] == all[2], "{all:?}");
    assert!(all[2].is_disjoint(&all[3]), "{all:?}");
    drop(sender);
    agent.await.expect("the agent's end");
}

#[tokio::test]
async fn reports_without_end_keep_nothing_from_being_swept() {
    let account = Arc::new(Mutex::new(Account::default()));
    let (sender, agent) = start(Unwilling::new(&account, None)).await;
    {
        let mut account = account.lock().expect("no panic");
        account.needs_sweep = true;
        account.busy = Some(sender.clone());
    }
    sender.send(Report::Synced).await.expect("a running agent");
    until(&account, |account| !account.needs_sweep).await;
    drop(sender);
    agent.await.expect("the agent's end");
}
