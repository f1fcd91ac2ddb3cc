//! `describe`: the one verb that knows kinds by name. Each has a file; others are shown as they are.

mod deployment;
mod endpoints;
mod events;
mod fields;
mod generic;
mod page;
mod pod;
mod pod_template;
mod replica_set;
mod service;
mod volumes;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::page::Page;
use crate::client::{Call, typed};
use crate::error::{Error, Result};
use crate::select::{self, Target};
use crate::{Context, labels, manifest, print};

const EXAMPLES: &str = "Examples:
  kubectl-lite describe svc web
  kubectl-lite describe pods/web-1
  kubectl-lite describe deploy we        (all whose name starts with we)
  kubectl-lite describe ep -l app=web";

/// Show details of a resource or group of resources
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE [NAME | NAME_PREFIX]... or TYPE/NAME...
    pub resources: Vec<String>,
    /// Label selector: key=value, key!=value, key in (a,b), key, !key
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Show events
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub show_events: bool,
    /// Files, folders or - with the objects
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<std::path::PathBuf>,
}

/// Runs `describe`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let discovery = context.discovery().await?;
    let mut errors = Vec::new();
    let targets = if arguments.filename.is_empty() {
        select::targets(discovery, &arguments.resources, context.namespace())?
    } else {
        let (manifests, wrong) = manifest::read(&arguments.filename, false);
        errors = wrong;
        let found = manifests.iter().map(|it| select::of_manifest(discovery, it, context));
        found.collect::<Result<Vec<_>>>()?
    };
    let mut first = true;
    for target in targets {
        let (objects, by_prefix) = match find(&arguments, &target, context).await {
            Ok(objects) => objects,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for object in objects {
            match describe(&arguments, &target, &object, context).await {
                Ok(text) => {
                    // kubectl ends what it found by prefix, and parts what it listed.
                    print(if first || by_prefix { "" } else { "\n\n" })?;
                    print(&text)?;
                    print(if by_prefix { "\n" } else { "" })?;
                    first = false;
                }
                Err(error) => errors.push(error),
            }
        }
    }
    if first && errors.is_empty() {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    Error::collect(errors)
}

/// The object of that name, else all whose names start so; and whether it took the prefix.
async fn find(
    arguments: &Arguments,
    target: &Target,
    context: &Context,
) -> Result<(Vec<Value>, bool)> {
    let Some(name) = &target.name else {
        let path = match arguments.all_namespaces {
            true => target.kind.collection(None),
            false => target.path(),
        };
        let mut call = Call::get(&path);
        if let Some(selector) = &arguments.selector {
            call = call.parameter("labelSelector", selector);
        }
        return Ok((context.server.list(call).await?, false));
    };
    let missing = match context.server.call(Call::get(&target.path())).await {
        Ok(object) => return Ok((vec![object], false)),
        Err(error) if error.is_not_found() => error,
        Err(error) => return Err(error),
    };
    let all = Target { name: None, ..target.clone() };
    let mut found: Vec<Value> = select::list(context, &all, None).await?;
    found.retain(|it| {
        let found = it["metadata"]["name"].as_str();
        found.is_some_and(|it| it.starts_with(name))
    });
    if found.is_empty() {
        return Err(missing);
    }
    Ok((found, true))
}

async fn describe(
    arguments: &Arguments,
    target: &Target,
    object: &Value,
    context: &Context,
) -> Result<String> {
    let metadata: ObjectMeta = typed(&object["metadata"])?;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let mut page = Page::default();
    match (target.kind.group.as_str(), target.kind.kind.as_str()) {
        ("", "Service") => {
            let service: Service = typed(object)?;
            let name = metadata.name.as_deref().unwrap_or_default();
            let of_service = format!("kubernetes.io/service-name={name}");
            let slices = related(context, "endpointslices", namespace, &of_service).await?;
            service::describe(&mut page, &service, &slices);
        }
        ("", "Endpoints") => endpoints::describe(&mut page, &typed(object)?),
        ("", "Pod") => pod::describe(&mut page, &typed(object)?),
        ("apps", "Deployment") => {
            let deployment: Deployment = typed(object)?;
            let selector = deployment.spec.as_ref().map(|it| labels::selector(&it.selector));
            let selector = selector.unwrap_or_default();
            let sets = related(context, "replicasets.apps", namespace, &selector).await?;
            deployment::describe(&mut page, &deployment, &sets);
        }
        ("apps", "ReplicaSet") => {
            let set: ReplicaSet = typed(object)?;
            let selector = set.spec.as_ref().map(|it| labels::selector(&it.selector));
            let pods = related(context, "pods", namespace, &selector.unwrap_or_default()).await?;
            replica_set::describe(&mut page, &set, &pods);
        }
        _ => {
            let mut object = object.clone();
            object["apiVersion"] = target.kind.api_version().into();
            object["kind"] = target.kind.kind.clone().into();
            generic::describe(&mut page, &metadata, &object);
        }
    }
    if arguments.show_events {
        let events = events::fetch(context, &metadata, &target.kind.kind).await?;
        events::describe(&mut page, &events);
    }
    Ok(page.text())
}

/// The objects of another kind in the namespace; none where the server has no such kind.
async fn related<T: DeserializeOwned>(
    context: &Context,
    kind: &str,
    namespace: &str,
    selector: &str,
) -> Result<Vec<T>> {
    let Ok(kind) = context.discovery().await?.find(kind) else {
        return Ok(Vec::new());
    };
    let target = Target { kind: kind.clone(), namespace: namespace.to_owned(), name: None };
    select::list(context, &target, Some(selector)).await
}
