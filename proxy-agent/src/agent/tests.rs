//! The loop against a mode that fails on demand. Never touches a kernel.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Agent;
use crate::explain::desk::Desk;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{Mode, ModeName, Settings};
use crate::model::{Change, Dirty, Family, Model};
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
}

/// The mode, and what is readable when somebody has.
struct Unwilling {
    account: Arc<Mutex<Account>>,
    watched: Option<OwnedFd>,
    settings: Settings,
}

impl Unwilling {
    fn new(account: &Arc<Mutex<Account>>, watched: Option<OwnedFd>) -> Unwilling {
        Unwilling {
            account: account.clone(),
            watched,
            settings: Settings::new(Family::V4),
        }
    }
}

impl Mode for Unwilling {
    fn name(&self) -> &'static str {
        "unwilling"
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn sync(&mut self, _: &Model, dirty: &Dirty) -> anyhow::Result<()> {
        let mut account = self.account.lock().expect("no panic");
        account.is_disturbed = false;
        account
            .syncs
            .push((Instant::now(), dirty.destinations.len()));
        if account.failures_left > 0 {
            account.failures_left -= 1;
            anyhow::bail!("not now");
        }
        Ok(())
    }

    fn sweep(&mut self, _: &Model) -> anyhow::Result<()> {
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        false
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

/// An agent that has seen an empty cluster, and the way to tell it more.
async fn start(mode: Unwilling) -> (mpsc::Sender<Report>, JoinHandle<()>) {
    let mut agent = Agent::new(
        Model::new("node-1"),
        vec![Box::new(mode)],
        Arc::new(Metrics::new(ModeName::Nftables)),
        Arc::new(Health::default()),
        Desk::new().1,
    );
    let (sender, receiver) = mpsc::channel(64);
    let agent = tokio::spawn(async move { agent.run(receiver).await });
    for _ in 1..KINDS {
        sender.send(Report::Synced).await.expect("a running agent");
    }
    (sender, agent)
}

fn service(index: u8) -> Report {
    let object = serde_json::json!({
        "metadata": { "namespace": "default", "name": format!("s{index}") },
        "spec": { "clusterIP": format!("10.96.0.{index}"), "ports": [{ "port": 80 }] },
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
    let account = Arc::new(Mutex::new(Account {
        failures_left: 4,
        ..Account::default()
    }));
    let (sender, agent) = start(Unwilling::new(&account, None)).await;
    let send = async |report| sender.send(report).await.expect("a running agent");

    send(service(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
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
