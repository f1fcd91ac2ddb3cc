//! The pod and the container that `logs` and `exec` mean.

use k8s_openapi::api::core::v1::Pod;

use crate::client::{Call, typed};
use crate::error::{Error, Result};
use crate::select::{self, Target};
use crate::{Context, labels};

/// Annotation that names the container that is meant where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The pod that `POD` or `TYPE/NAME` means; of another object's pods the first one that runs.
pub async fn find(context: &Context, resource: &str) -> Result<Pod> {
    let discovery = context.discovery().await?;
    let words = match resource.contains('/') {
        true => vec![resource.to_owned()],
        false => vec!["pods".to_owned(), resource.to_owned()],
    };
    let mut targets = select::targets(discovery, &words, context.namespace())?;
    let target = targets.remove(0);
    let object = context.server.call(Call::get(&target.path())).await?;
    if target.kind.kind == "Pod" {
        return typed(&object);
    }
    let spec = &object["spec"]["selector"];
    let selector = if spec["matchLabels"].is_object() || spec["matchExpressions"].is_array() {
        labels::selector(&typed(spec)?)
    } else {
        labels::format(typed::<Option<_>>(spec)?.as_ref(), ",", "")
    };
    if selector.is_empty() {
        return Err(Error::message(format!(
            "cannot get the pods of {}: it selects none",
            target.shown()
        )));
    }
    let pods = Target {
        kind: discovery.find("pods")?.clone(),
        namespace: target.namespace.clone(),
        name: None,
    };
    let mut found: Vec<Pod> = select::list(context, &pods, Some(&selector)).await?;
    found.sort_by_key(|pod| phase(pod) != "Running");
    if found.is_empty() {
        return Err(Error::message(format!("no pods of {} found", target.shown())));
    }
    if found.len() > 1 {
        eprintln!("Found {} pods, using pod/{}", found.len(), name(&found[0]));
    }
    Ok(found.remove(0))
}

/// The pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The pod's phase; empty before there is one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default()
}

/// Names of the containers, then of the init containers.
pub fn containers(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.iter();
    let all = spec.flat_map(|it| it.containers.iter().chain(it.init_containers.iter().flatten()));
    all.map(|it| it.name.clone()).collect()
}

/// The container that is meant, by name or as the pod's default one.
pub fn container(pod: &Pod, wanted: Option<&str>) -> Result<String> {
    let name = name(pod);
    let known = containers(pod);
    if let Some(wanted) = wanted {
        if known.iter().any(|it| it == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Error::message(format!(
            "container {wanted} not found in pod {name}; it has {}",
            known.join(", ")
        )));
    }
    let annotation = pod.metadata.annotations.as_ref().and_then(|it| it.get(DEFAULT_CONTAINER));
    if let Some(default) = annotation.filter(|it| known.contains(it)) {
        return Ok(default.clone());
    }
    let count = pod.spec.as_ref().map_or(0, |it| it.containers.len());
    let first = known.first().filter(|_| count > 0);
    let first = first.ok_or_else(|| Error::message(format!("pod {name} has no containers")))?;
    if known.len() > 1 {
        let shown = known.iter().enumerate().map(|(index, name)| match index < count {
            true => name.clone(),
            false => format!("{name} (init)"),
        });
        let shown: Vec<_> = shown.collect();
        eprintln!("Defaulted container {first:?} out of: {}", shown.join(", "));
    }
    Ok(first.clone())
}
