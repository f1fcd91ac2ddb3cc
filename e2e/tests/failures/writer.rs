//! Writes to the cluster one object after another, and remembers what was acknowledged.
//!
//! Never writes a name twice: a write whose answer was lost may have been done.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::time::MissedTickBehavior;

/// A write that has no answer by then is given up, and its connection with it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two writes, where they are answered sooner.
const EVERY: Duration = Duration::from_millis(10);
const LABEL: &str = "of=writer";

/// A client of its own, so that no connection is kept from an earlier one.
pub async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// What the writer knows.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<BTreeSet<String>>,
    /// Longest time between two acknowledgements, in milliseconds.
    longest_gap_ms: AtomicU64,
    stop: AtomicBool,
}

/// A running writer.
pub struct Writer {
    seen: Arc<Seen>,
    kubeconfig: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts one; `round` sets its objects apart from those of others.
    pub fn start(kubeconfig: &Path, round: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let (theirs, path, round) = (seen.clone(), kubeconfig.to_owned(), round.to_owned());
        let thread = thread::spawn(move || runtime().block_on(write(&theirs, &path, &round)));
        Self { seen, kubeconfig: kubeconfig.to_owned(), thread: Some(thread) }
    }

    /// How many writes were acknowledged so far.
    pub fn count(&self) -> usize {
        self.seen.acknowledged.lock().expect("no panic").len()
    }

    /// Ends it. Returns the number of acknowledged writes, those of them that are not there, and the
    /// longest time without one.
    pub fn end(mut self) -> (usize, Vec<String>, Duration) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer does not panic");
        }
        let acknowledged = self.seen.acknowledged.lock().expect("no panic").clone();
        let stored = runtime().block_on(stored(&self.kubeconfig));
        let lost = acknowledged.difference(&stored).cloned().collect();
        let gap = Duration::from_millis(self.seen.longest_gap_ms.load(Ordering::Relaxed));
        (acknowledged.len(), lost, gap)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn write(seen: &Seen, kubeconfig: &Path, round: &str) {
    let mut last = Instant::now();
    let mut number = 0;
    let mut known: Option<Client> = None;
    let mut pace = tokio::time::interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !seen.stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let client = match known.take() {
            Some(client) => client,
            None => client(kubeconfig).await.expect("the kubeconfig is good"),
        };
        let name = format!("{round}-{number}");
        number += 1;
        let object: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"of": "writer"}}}))
                .expect("a ConfigMap");
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let parameters = PostParams::default();
        let created = api.create(&parameters, &object);
        if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_TIMEOUT, created).await {
            let gap = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
            seen.longest_gap_ms.fetch_max(gap, Ordering::Relaxed);
            last = Instant::now();
            seen.acknowledged.lock().expect("no panic").insert(name);
            known = Some(client);
        }
    }
}

/// The names that are stored, read at the newest revision.
async fn stored(kubeconfig: &Path) -> BTreeSet<String> {
    let client = client(kubeconfig).await.expect("the kubeconfig is good");
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let list = api.list(&ListParams::default().labels(LABEL)).await;
    let list = list.expect("the cluster is healthy again");
    list.into_iter().map(|map| map.name_any()).collect()
}
