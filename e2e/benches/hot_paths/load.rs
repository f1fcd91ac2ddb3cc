//! Many objects: how fast they are made, found and listed, and what they weigh.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use kube::api::{GetParams, ListParams, PostParams, Request};
use serde_json::json;

use crate::figure::{Figure, percentile_ms};
use crate::meter::Span;
use crate::objects::{HollowNode, clients, create_pods, each, pod, pod_name};
use crate::say;
use crate::server::Server;

/// Pods in the measurement of creations, and their size in bytes of JSON.
const PODS: usize = 10_000;
const POD_BYTES: usize = 2200;
/// Pods created before the clock starts.
const WARM_UP: usize = 500;
/// GETs in all.
const GETS: usize = 100_000;
/// LISTs, one after the other.
const LISTS: usize = 9;
/// Size of the pods in the measurement of memory.
const LARGE_POD_BYTES: usize = 7200;
/// Bodies made ahead of their requests.
const BATCH: usize = 10_000;

/// Creates pods over all connections, then gets each many times, then lists them.
pub async fn create_get_list(server: &Server) -> anyhow::Result<Vec<Figure>> {
    let clients = clients(server)?;
    let _node = HollowNode::join(clients[0].clone()).await?;
    let bodies: Vec<Vec<u8>> = (0..WARM_UP + PODS).map(|number| pod(number, POD_BYTES)).collect();
    create_pods(&clients, server, &bodies[..WARM_UP]).await?;
    let span = Span::start(&server.processes)?;
    let begin = Instant::now();
    create_pods(&clients, server, &bodies[WARM_UP..]).await?;
    let per_s = PODS as f64 / begin.elapsed().as_secs_f64();
    let mut figures = vec![Figure::rate("create pod", "/s", per_s).goal(10_000.0)];
    figures.extend(span.figures(
        "CPU per 10,000 created",
        "s",
        10_000.0 / PODS as f64,
        &[("apiserver", 1.5)],
    )?);

    say("  getting");
    let path = server.path("api/v1", "pods");
    let begin = Instant::now();
    each(&clients, 0..GETS, |client, number| {
        let request = Request::new(&path).get(&pod_name(number % PODS), &GetParams::default());
        async move {
            client.request_text(request?).await.context("get a pod")?;
            Ok(())
        }
    })
    .await?;
    let per_s = GETS as f64 / begin.elapsed().as_secs_f64();
    figures.push(Figure::rate("get pod", "/s", per_s).goal(80_000.0));

    say("  listing");
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let request = Request::new(&path).list(&ListParams::default())?;
        let begin = Instant::now();
        clients[0].request_text(request).await.context("list the pods")?;
        times.push(begin.elapsed());
    }
    let median = percentile_ms(&mut times, 0.5);
    figures.push(Figure::new("list 10,500 pods, median", "ms", median).goal(40.0));
    Ok(figures)
}

/// What the processes weigh with so many pods and Services.
pub async fn memory(server: &Server, pods: usize, services: usize) -> anyhow::Result<Vec<Figure>> {
    let clients = clients(server)?;
    let _node = HollowNode::join(clients[0].clone()).await?;
    let mut figures = weigh(server, "before")?;
    for first in (0..pods).step_by(BATCH) {
        let batch = first..pods.min(first + BATCH);
        let bodies: Vec<Vec<u8>> = batch.map(|number| pod(number, LARGE_POD_BYTES)).collect();
        create_pods(&clients, server, &bodies).await?;
        say(&format!("  {} of {pods} pods", first + bodies.len()));
    }
    create_services(&clients, server, services).await?;
    // What writing left behind is given back by then, or never.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let goal = if services == 0 { 120.0 } else { 1000.0 };
    figures.extend(weigh(server, "after")?.into_iter().map(|figure| {
        match figure.is("PSS after, apiserver") {
            true => figure.goal(goal),
            false => figure,
        }
    }));
    Ok(figures)
}

async fn create_services(
    clients: &[kube::Client],
    server: &Server,
    services: usize,
) -> anyhow::Result<()> {
    let path = server.path("api/v1", "services");
    let made = AtomicUsize::new(0);
    each(clients, 0..services, |client, number| {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("service-{number}")},
            "spec": {"selector": {"number": number.to_string()},
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
        let request =
            Request::new(&path).create(&PostParams::default(), service.to_string().into_bytes());
        let made = &made;
        async move {
            client.request_text(request?).await.context("create a Service")?;
            let made = made.fetch_add(1, Ordering::Relaxed) + 1;
            if made.is_multiple_of(BATCH) {
                say(&format!("  {made} of {services} Services"));
            }
            Ok(())
        }
    })
    .await
}

fn weigh(server: &Server, when: &str) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for process in &server.processes {
        let (rss, pss) = process.memory_mb()?;
        figures.push(Figure::new(format!("RSS {when}, {}", process.name), "MB", rss));
        figures.push(Figure::new(format!("PSS {when}, {}", process.name), "MB", pss));
    }
    Ok(figures)
}
