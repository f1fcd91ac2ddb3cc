//! One writer and many watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::AsyncBufReadExt;
use kube::api::{ListParams, Patch, PatchParams, Request, WatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;

use crate::figure::{Figure, percentile_ms};
use crate::meter::Span;
use crate::objects::{HollowNode, create_pods, pod, pod_name};
use crate::say;
use crate::server::Server;

/// Watchers, each with a connection of its own.
const WATCHERS: usize = 1000;
/// How long the writer writes.
const WRITING: Duration = Duration::from_secs(10);
/// What has not come so long after the last write is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// The annotation that says when a write was sent, in ns since the start.
const SENT: &str = "bench/sent-ns";

/// A pod is written as fast as the server answers; all watchers of its namespace see it.
pub async fn watch(server: &Server) -> anyhow::Result<Vec<Figure>> {
    let client = server.client()?;
    let _node = HollowNode::join(client.clone()).await?;
    create_pods(std::slice::from_ref(&client), server, &[pod(0, 2200)]).await?;
    let start = Instant::now();
    let seen = Arc::new(AtomicU64::new(0));
    let mut watchers = connect_watchers(server, start, &seen).await?;

    let span = Span::start(&server.processes)?;
    let begin = Instant::now();
    let writes = write_for(&client, server, start, WRITING).await?;
    let expected = writes * WATCHERS as u64;
    while seen.load(Ordering::Relaxed) < expected {
        if let Some(ended) = watchers.try_join_next() {
            ended?.context("a watcher")?;
            bail!("a watch ended early");
        }
        if begin.elapsed() > WRITING + PATIENCE {
            bail!("{} of {expected} events came", seen.load(Ordering::Relaxed));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elapsed_s = begin.elapsed().as_secs_f64();
    let cpu =
        span.figures("CPU a million events", "s", 1e6 / expected as f64, &[("apiserver", 9.0)])?;
    // The last event of each watcher ends it, and gives its times.
    write_for(&client, server, start, Duration::ZERO).await?;
    let mut times = Vec::with_capacity(expected as usize);
    while let Some(ended) = watchers.join_next().await {
        times.extend(ended??);
    }
    let mut figures = vec![
        Figure::rate("events", "/s", expected as f64 / elapsed_s),
        Figure::new("p50", "ms", percentile_ms(&mut times, 0.5)),
        Figure::new("p99", "ms", percentile_ms(&mut times, 0.99)).goal(10.0),
    ];
    figures.extend(cpu.into_iter().filter(|figure| figure.is("CPU a million events, apiserver")));
    Ok(figures)
}

type Watchers = JoinSet<anyhow::Result<Vec<Duration>>>;

async fn connect_watchers(
    server: &Server,
    start: Instant,
    seen: &Arc<AtomicU64>,
) -> anyhow::Result<Watchers> {
    let client = server.client()?;
    let path = server.path("api/v1", "pods");
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(client.clone(), &server.namespace);
    let list = pods.list(&ListParams::default()).await?;
    let from = list.metadata.resource_version.unwrap_or_default();
    let mut watchers = JoinSet::new();
    for number in 0..WATCHERS {
        // HTTP/1.1: a watch has its connection to itself.
        let request = Request::new(&path).watch(&WatchParams::default().timeout(290), &from)?;
        let mut lines = client.request_stream(request).await?;
        let seen = seen.clone();
        watchers.spawn(async move {
            let (mut line, mut times) = (Vec::new(), Vec::new());
            loop {
                line.clear();
                if lines.read_until(b'\n', &mut line).await? == 0 {
                    bail!("the watch ended");
                }
                match sent_ns(&line)? {
                    0 => return Ok(times),
                    sent => times.push(start.elapsed().saturating_sub(Duration::from_nanos(sent))),
                }
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        if (number + 1).is_multiple_of(250) {
            say(&format!("  {} watchers", number + 1));
        }
    }
    Ok(watchers)
}

/// Writes one after the other for that long, and says how many; a single one that ends the
/// watchers where the time is none.
async fn write_for(
    client: &Client,
    server: &Server,
    start: Instant,
    time: Duration,
) -> anyhow::Result<u64> {
    let path = server.path("api/v1", "pods");
    let deadline = Instant::now() + time;
    let mut writes = 0;
    loop {
        let sent = if time.is_zero() { 0 } else { start.elapsed().as_nanos() };
        let patch = json!({"metadata": {"annotations": {SENT: sent.to_string()}}});
        let request = Request::new(&path).patch(
            &pod_name(0),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )?;
        client.request_text(request).await.context("write the pod")?;
        writes += 1;
        if Instant::now() >= deadline {
            return Ok(writes);
        }
    }
}

/// When the event's write was sent.
fn sent_ns(line: &[u8]) -> anyhow::Result<u64> {
    let text = std::str::from_utf8(line)?;
    let (_, rest) = text.split_once("\"bench/sent-ns\":\"").with_context(|| text.to_owned())?;
    let (number, _) = rest.split_once('"').with_context(|| text.to_owned())?;
    Ok(number.parse()?)
}
