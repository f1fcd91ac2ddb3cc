//! `coracle status`: whether a lab runs, where, and what its API says of the nodes.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use std::time::Duration;

use super::LabArgs;
use crate::cluster::bootstrap;
use crate::lab::state::{DataDir, RunState};

/// For the API's answer.
const API_TIMEOUT: Duration = Duration::from_secs(3);
/// Exit status where no lab runs, as `systemctl status` has it.
const NOT_RUNNING: u8 = 3;

/// Prints the state of a data directory's lab.
pub fn run(lab: &LabArgs) -> Result<u8> {
    let data = DataDir::locate(lab.data_dir.as_deref())?;
    let Some(state) = data.running()? else {
        println!("no lab runs on {}", data.root.display());
        return Ok(NOT_RUNNING);
    };
    println!("lab:        {}", if state.ready { "ready" } else { "starting" });
    println!("data:       {}", data.root.display());
    println!("API server: {}", state.server);
    println!("kubeconfig: {}", state.kubeconfig.display());
    println!("processes:  {} on the host, {} inside", state.host.pid, state.supervisor.pid);
    println!("logs:       {}", data.path("logs").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(async { tokio::time::timeout(API_TIMEOUT, nodes(&data, &state)).await })
    {
        Ok(Ok(lines)) => lines.iter().for_each(|line| println!("{line}")),
        Ok(Err(error)) => println!("nodes:      unknown, the API does not answer: {error:#}"),
        Err(_) => println!("nodes:      unknown, the API does not answer within {API_TIMEOUT:?}"),
    }
    Ok(0)
}

async fn nodes(data: &DataDir, state: &RunState) -> Result<Vec<String>> {
    let client = bootstrap::client(&data.path("kubeconfig")).await?;
    if state.nodes.is_empty() {
        bootstrap::api_ready(&client).await?;
        return Ok(vec!["nodes:      none (control plane only)".to_owned()]);
    }
    let nodes: Api<Node> = Api::all(client);
    let list = nodes.list(&Default::default()).await?;
    Ok(state
        .nodes
        .iter()
        .map(|name| {
            let node = list.iter().find(|node| node.name_any() == *name);
            let word = match node {
                None => "not registered",
                Some(node) if bootstrap::is_ready(node) => "Ready",
                Some(_) => "NotReady",
            };
            format!("node:       {name} {word}")
        })
        .collect())
}
