//! From a pod or a Service to its EndpointSlices at a watcher.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinSet;

use crate::figure::{Figure, percentile_ms};
use crate::meter::Span;
use crate::objects::{clients, create_service, pod_number, ready_pods, set_ready};
use crate::server::Server;

/// Pods of the Service.
const PODS: usize = 1000;
/// Readiness changes, and the time between two.
const FLIPS: usize = 1000;
const PERIOD: Duration = Duration::from_millis(10);
/// A step between two numbers of pods, so that neighbours in a slice are far apart in time.
const STRIDE: usize = 617;
/// Services in the measurement of new ones.
const SERVICES: usize = 10;
/// What is not seen by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<EndpointSlice>>> + Send>>;

/// Slices as a watcher sees them: which pods are ready, a Service.
struct Watcher {
    events: Events,
    ready: BTreeMap<String, Vec<bool>>,
    /// Slices written, as seen.
    slices: usize,
}

impl Watcher {
    /// Watches all slices of the namespace, from the first.
    async fn start(client: Client, server: &Server) -> anyhow::Result<Self> {
        let slices: Api<EndpointSlice> = Api::namespaced(client, &server.namespace);
        let params = WatchParams::default().timeout(290);
        let events = slices.watch(&params, "0").await?.boxed();
        Ok(Self { events, ready: BTreeMap::new(), slices: 0 })
    }

    /// The next event's changes: (pod, whether it is ready now).
    async fn next(&mut self) -> anyhow::Result<Vec<(usize, bool)>> {
        let event = tokio::time::timeout(PATIENCE, self.events.try_next());
        let event = event.await.context("no event of a slice")??.context("the watch ended")?;
        let slice = match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => slice,
            WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
            _ => return Ok(Vec::new()),
        };
        self.slices += 1;
        let service = slice.labels().get("kubernetes.io/service-name").cloned();
        let known = self.ready.entry(service.unwrap_or_default()).or_insert(vec![false; PODS]);
        let mut changes = Vec::new();
        for endpoint in slice.endpoints.iter().flatten() {
            let name = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            let (Some(number), Some(ready)) = (name.and_then(pod_number), ready) else { continue };
            if std::mem::replace(&mut known[number], ready) != ready {
                changes.push((number, ready));
            }
        }
        Ok(changes)
    }

    /// Waits until all pods are ready endpoints of the Service.
    async fn complete(&mut self, service: &str) -> anyhow::Result<()> {
        while !self.ready.get(service).is_some_and(|known| known.iter().all(|ready| *ready)) {
            self.next().await?;
        }
        Ok(())
    }
}

/// Flips pods at a constant pace, whether or not the last flip has been seen.
pub async fn readiness(server: &Server) -> anyhow::Result<Vec<Figure>> {
    let clients = clients(server)?;
    let _node = ready_pods(&clients, server, PODS).await?;
    let mut watcher = Watcher::start(server.client()?, server).await?;
    create_service(&clients[0], server, "web").await?;
    watcher.complete("web").await?;
    // What the start left behind in the controllers does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let sent: Arc<Mutex<Vec<Option<Instant>>>> = Arc::new(Mutex::new(vec![None; PODS]));
    let span = Span::start(&server.processes)?;
    let flipping = tokio::spawn(flip_all(clients, server.path("api/v1", "pods"), sent.clone()));
    watcher.slices = 0;
    let mut times = Vec::with_capacity(FLIPS);
    while times.len() < FLIPS {
        for (number, _) in watcher.next().await? {
            let sent = sent.lock().unwrap_or_else(PoisonError::into_inner)[number].take();
            times.extend(sent.map(|sent| sent.elapsed()));
        }
    }
    flipping.await??;
    let mut figures = vec![
        Figure::new("p50", "ms", percentile_ms(&mut times, 0.5)),
        Figure::new("p99", "ms", percentile_ms(&mut times, 0.99)).goal(5.0),
        Figure::new("slices written a flip", "", watcher.slices as f64 / FLIPS as f64),
    ];
    let goals = [("endpoints-controller", 0.5), ("apiserver", 0.5)];
    figures.extend(span.figures("CPU a flip", "ms", 1000.0 / FLIPS as f64, &goals)?);
    Ok(figures)
}

async fn flip_all(
    clients: Vec<Client>,
    path: String,
    sent: Arc<Mutex<Vec<Option<Instant>>>>,
) -> anyhow::Result<()> {
    let mut pace = tokio::time::interval(PERIOD);
    let mut requests = JoinSet::new();
    for flip in 0..FLIPS {
        pace.tick().await;
        let number = flip * STRIDE % PODS;
        let (client, path, sent) =
            (clients[flip % clients.len()].clone(), path.clone(), sent.clone());
        requests.spawn(async move {
            let now = Some(Instant::now());
            sent.lock().unwrap_or_else(PoisonError::into_inner)[number] = now;
            set_ready(&client, &path, number, false).await
        });
    }
    while let Some(done) = requests.join_next().await {
        done??;
    }
    Ok(())
}

/// Creates Services over pods that are ready, one after the other.
pub async fn new_service(server: &Server) -> anyhow::Result<Vec<Figure>> {
    let clients = clients(server)?;
    let _node = ready_pods(&clients, server, PODS).await?;
    let mut watcher = Watcher::start(server.client()?, server).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let span = Span::start(&server.processes)?;
    let mut times = Vec::new();
    for number in 0..SERVICES {
        let name = format!("web-{number}");
        let begin = Instant::now();
        create_service(&clients[0], server, &name).await?;
        watcher.complete(&name).await?;
        times.push(begin.elapsed());
        // Its Endpoints object is written beside its slices; each Service begins in quiet.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut figures = vec![
        Figure::new("median", "ms", percentile_ms(&mut times, 0.5)).goal(10.0),
        Figure::new("slowest", "ms", percentile_ms(&mut times, 1.0)),
    ];
    figures.extend(span.figures("CPU a Service", "ms", 1000.0 / SERVICES as f64, &[])?);
    Ok(figures)
}
