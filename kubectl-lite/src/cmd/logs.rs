//! `logs`: what containers wrote.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;

use crate::client::Call;
use crate::error::{Error, Result};
use crate::lines::Lines;
use crate::select::{self, Target};
use crate::{Context, pods, print, time};

const EXAMPLES: &str = "Examples:
  kubectl-lite logs web-1
  kubectl-lite logs -f --tail=20 deployment/web
  kubectl-lite logs -p -c server web-1
  kubectl-lite logs -l app=web --prefix";

/// Most logs that are followed at once.
const MAX_FOLLOWED: usize = 5;
/// Lines of each pod's log that a selector shows when `--tail` is not given.
const SELECTOR_TAIL_LINES: i64 = 10;

/// Print the logs for a container in a pod
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// POD or TYPE/NAME
    pub resource: Option<String>,
    /// Container, as a second argument
    pub container_name: Option<String>,
    /// Container
    #[arg(long, short)]
    pub container: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    pub all_containers: bool,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub follow: bool,
    /// The former instance of the container
    #[arg(long, short)]
    pub previous: bool,
    /// The time before each line
    #[arg(long)]
    pub timestamps: bool,
    /// Only the last lines; -1 shows all
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only the last bytes
    #[arg(long)]
    pub limit_bytes: Option<u64>,
    /// Only lines newer than this, as 5m
    #[arg(long, value_parser = time::duration)]
    pub since: Option<std::time::Duration>,
    /// The pods of this label selector
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// The log's pod and container before each line
    #[arg(long)]
    pub prefix: bool,
}

/// Runs `logs`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let pods = match (&arguments.resource, &arguments.selector) {
        (Some(resource), None) => vec![pods::find(context, resource).await?],
        (None, Some(selector)) => {
            let all = Target {
                kind: context.discovery().await?.find("pods")?.clone(),
                namespace: context.namespace().to_owned(),
                name: None,
            };
            select::list::<Pod>(context, &all, Some(selector)).await?
        }
        _ => {
            let text = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]', or a selector";
            return Err(Error::message(text));
        }
    };
    let mut logs = Vec::new();
    for pod in &pods {
        let containers = if arguments.all_containers {
            pods::containers(pod)
        } else {
            let wanted = arguments.container.as_ref().or(arguments.container_name.as_ref());
            vec![pods::container(pod, wanted.map(String::as_str))?]
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        logs.extend(containers.into_iter().map(|container| (name.clone(), container)));
    }
    if logs.is_empty() {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    if arguments.follow && logs.len() > MAX_FOLLOWED {
        return Err(Error::message(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {MAX_FOLLOWED}",
            logs.len()
        )));
    }
    if !arguments.follow {
        for (pod, container) in &logs {
            copy(&arguments, pod, container, context).await?;
        }
        return Ok(());
    }
    let streams = logs.iter().map(|(pod, container)| copy(&arguments, pod, container, context));
    let mut streams: FuturesUnordered<_> = streams.collect();
    while let Some(ended) = streams.next().await {
        ended?;
    }
    Ok(())
}

async fn copy(arguments: &Arguments, pod: &str, container: &str, context: &Context) -> Result {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log", context.namespace());
    let mut call = Call::get(&path).parameter("container", container);
    // The server answers errors as JSON, and the log as text.
    call.accept = Some("*/*");
    for (name, wanted) in [
        ("follow", arguments.follow),
        ("previous", arguments.previous),
        ("timestamps", arguments.timestamps),
    ] {
        if wanted {
            call = call.parameter(name, "true");
        }
    }
    let few = arguments.selector.as_ref().map(|_| SELECTOR_TAIL_LINES);
    if let Some(lines) = arguments.tail.or(few).filter(|lines| *lines >= 0) {
        call = call.parameter("tailLines", lines.to_string());
    }
    if let Some(bytes) = arguments.limit_bytes {
        call = call.parameter("limitBytes", bytes.to_string());
    }
    if let Some(since) = arguments.since {
        call = call.parameter("sinceSeconds", since.as_secs().max(1).to_string());
    }
    let mut body = context.server.send(call).await?.into_body();
    if arguments.prefix {
        let mut lines = Lines::new(body);
        while let Some(line) = lines.next().await? {
            print(&format!("[pod/{pod}/{container}] {line}\n"))?;
        }
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Error::message(format!("the log of {pod} broke: {error}")))?;
        if let Ok(data) = frame.into_data() {
            use std::io::Write as _;
            let mut out = std::io::stdout().lock();
            out.write_all(&data)?;
            out.flush()?;
        }
    }
    Ok(())
}
