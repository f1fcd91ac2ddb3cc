//! No acknowledged write is lost, and no watch skips or repeats, while the API server is killed
//! twenty times under sixteen writers.
//!
//! Never guesses about a write whose answer did not come: it may be there or not, but whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{ApiServer, Backend, missing_tool};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};

const KILLS: usize = 20;
const WRITERS: usize = 16;
/// Acknowledged writes that must come between two kills.
const WRITES_BETWEEN_KILLS: usize = 100;
/// Padding of each object, in bytes: a torn one is seen.
const PAYLOAD_BYTES: usize = 512;

/// What the writers know: name → revision of each acknowledged create.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

fn revision(object: &ConfigMap) -> u64 {
    let version = object.resource_version().unwrap_or_default();
    version.parse().unwrap_or_else(|error| panic!("resourceVersion {version:?}: {error}"))
}

/// The only content an object of this name may have.
fn payload(name: &str) -> String {
    name.chars().cycle().take(PAYLOAD_BYTES).collect()
}

fn object(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.data = Some([("payload".to_owned(), payload(name))].into());
    object
}

async fn write(client: Client, writer: usize, acknowledged: Acknowledged, stop: Arc<AtomicBool>) {
    let objects: Api<ConfigMap> = Api::namespaced(client, "default");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("w{writer}-{number}");
        match objects.create(&PostParams::default(), &object(&name)).await {
            Ok(created) => {
                acknowledged.lock().expect("no writer panicked").insert(name, revision(&created));
            }
            Err(kube::Error::Api(status)) if status.code < 500 => panic!("{name}: {status:?}"),
            // Killed in flight: the outcome is unknown, the next one has another name.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Watches from one revision on, resuming where it was, until `until` has been seen.
async fn watch(
    client: Client,
    from: u64,
    until: tokio::sync::watch::Receiver<u64>,
) -> Vec<(u64, String)> {
    let objects: Api<ConfigMap> = Api::namespaced(client, "default");
    let (mut seen, mut last) = (Vec::new(), from);
    // Bookmarks move `last` on where nothing comes.
    let done = |last: u64| *until.borrow() != 0 && last >= *until.borrow();
    while !done(last) {
        let Ok(stream) = objects.watch(&WatchParams::default().timeout(5), &last.to_string()).await
        else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            match event {
                WatchEvent::Added(object) => {
                    let revision = revision(&object);
                    assert!(revision > last, "revision {revision} came after {last}");
                    seen.push((revision, object.name_any()));
                    last = revision;
                }
                WatchEvent::Bookmark(bookmark) => {
                    last = bookmark.metadata.resource_version.parse().expect("a revision");
                }
                WatchEvent::Error(status) => panic!("the watch from {last} ended with {status:?}"),
                other => panic!("nobody modifies or deletes: {other:?}"),
            }
            if done(last) {
                break;
            }
        }
    }
    seen
}

async fn kill_under_load(backend: Backend) -> anyhow::Result<()> {
    let mut server = ApiServer::start(backend)?;
    let client = server.client()?;
    let objects: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let list = objects.list(&ListParams::default()).await?;
    let start: u64 = list.metadata.resource_version.as_deref().unwrap_or_default().parse()?;
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let (end, until) = tokio::sync::watch::channel(0);
    let watcher = tokio::spawn(watch(client.clone(), start, until));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write(client.clone(), writer, acknowledged.clone(), stop.clone()))
        })
        .collect();
    let count = || acknowledged.lock().expect("no writer panicked").len();
    for kill in 1..=KILLS + 1 {
        let before = count();
        while count() < before + WRITES_BETWEEN_KILLS {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if kill <= KILLS {
            tokio::task::block_in_place(|| {
                server.kill();
                server.restart()
            })?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    let list = objects.list(&ListParams::default()).await?;
    let stored: BTreeMap<String, u64> =
        list.iter().map(|object| (object.name_any(), revision(object))).collect();
    end.send(stored.values().copied().max().unwrap_or_default())?;
    let watched = tokio::time::timeout(Duration::from_secs(e2e::WAIT_S), watcher).await??;
    let acknowledged = acknowledged.lock().expect("no writer panicked").clone();
    println!(
        "{} acknowledged, {} stored, {} watched",
        acknowledged.len(),
        stored.len(),
        watched.len()
    );
    check(&list.items, &acknowledged, &stored, watched);
    Ok(())
}

fn check(
    objects: &[ConfigMap],
    acknowledged: &BTreeMap<String, u64>,
    stored: &BTreeMap<String, u64>,
    watched: Vec<(u64, String)>,
) {
    for object in objects.iter().filter(|object| object.name_any().starts_with('w')) {
        let name = object.name_any();
        let found = object.data.as_ref().and_then(|data| data.get("payload"));
        assert_eq!(found, Some(&payload(&name)), "{name} is torn");
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|(name, revision)| stored.get(*name) != Some(revision))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost (or changed): {lost:?}");
    let stored: BTreeSet<(u64, String)> = stored
        .iter()
        .filter(|(name, _)| name.starts_with('w'))
        .map(|(name, revision)| (*revision, name.clone()))
        .collect();
    let watched: BTreeSet<(u64, String)> =
        watched.into_iter().filter(|(_, name)| name.starts_with('w')).collect();
    let missed: Vec<_> = stored.difference(&watched).collect();
    let invented: Vec<_> = watched.difference(&stored).collect();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "watch missed {missed:?}, invented {invented:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_store_keeps_every_acknowledged_write() -> anyhow::Result<()> {
    kill_under_load(Backend::Embedded).await
}

/// Ends with the test.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_keeps_every_acknowledged_write() -> anyhow::Result<()> {
    if missing_tool("etcd", "etcd-server") {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let (client, peer) = (format!("http://{}", port()?), format!("http://{}", port()?));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory.path());
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
    let _etcd =
        Etcd(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    kill_under_load(Backend::Etcd(client)).await
}
