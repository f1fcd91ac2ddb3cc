//! `coracle up` as its user sees it: how long it takes, and what it weighs when nothing happens.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::figure::{Figure, percentile_ms};
use crate::meter::descendants;
use crate::say;
use crate::server::Lab;

/// What a start ought to take at most.
const GOAL_S: f64 = 0.45;
/// Pods that come and go.
const PODS: usize = 250;
/// Nothing happens for so long before the lab is weighed.
const IDLE: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts labs one after the other, each on a new directory.
pub async fn starts(program: PathBuf, count: usize) -> anyhow::Result<Vec<Figure>> {
    let mut times = Vec::new();
    for number in 0..count {
        let directory = tempfile::tempdir()?;
        let begin = Instant::now();
        coracle(&program, directory.path(), &["up", "--detach", "--port", "0"])?;
        times.push(begin.elapsed());
        coracle(&program, directory.path(), &["down"])?;
        if (number + 1).is_multiple_of(5) {
            say(&format!("  {} of {count} starts", number + 1));
        }
    }
    let in_time = times.iter().filter(|time| time.as_secs_f64() <= GOAL_S).count();
    let mut seconds = |share| percentile_ms(&mut times, share) / 1000.0;
    Ok(vec![
        Figure::new("fastest", "s", seconds(0.0)),
        Figure::new("median", "s", seconds(0.5)),
        Figure::new("slowest", "s", seconds(1.0)).goal(GOAL_S),
        Figure::rate("starts within the goal", "", in_time as f64).goal(count as f64),
    ])
}

fn coracle(program: &Path, directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--data-dir").arg(directory).stdin(Stdio::null());
    let output = command.output().with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Runs pods in a lab, deletes them, and weighs what is left after a long quiet time.
pub async fn idle(program: PathBuf) -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::start(&program, &[]).await?;
    let client = Client::try_from(lab.config().await?)?;
    let fresh = lab_memory(&lab)?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = json!({"metadata": {"name": "crowd"}, "spec": {
        "replicas": PODS, "selector": {"matchLabels": {"app": "crowd"}},
        "template": {"metadata": {"labels": {"app": "crowd"}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "web", "image": "nginx"}],
        }},
    }});
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    say("  waiting for the pods to be ready");
    until(&pods, |pods| pods.iter().filter(|pod| is_ready(pod)).count() == PODS).await?;
    let crowded = lab_memory(&lab)?;
    let none = json!({"spec": {"replicas": 0}});
    deployments.patch("crowd", &PatchParams::default(), &Patch::Merge(none)).await?;
    deployments.delete("crowd", &DeleteParams::default()).await?;
    until(&pods, <[Pod]>::is_empty).await?;
    say("  the pods are gone; waiting ten minutes");
    tokio::time::sleep(IDLE).await;
    let after = lab_memory(&lab)?;
    Ok(vec![
        Figure::new("PSS of a fresh lab", "MB", fresh),
        Figure::new("PSS with 250 pods", "MB", crowded),
        Figure::new("PSS ten minutes after they went", "MB", after).goal(70.0),
    ])
}

async fn until(pods: &Api<Pod>, holds: impl Fn(&[Pod]) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds(&pods.list(&ListParams::default().labels("app=crowd")).await?.items) {
        if Instant::now() > deadline {
            bail!("the pods are not as wanted after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// PSS of all processes of the lab, in MB.
fn lab_memory(lab: &Lab) -> anyhow::Result<f64> {
    let processes = descendants(lab.process.id());
    // A process may end between the two looks.
    Ok(processes.iter().filter_map(|process| process.memory_mb().ok()).map(|(_, pss)| pss).sum())
}
