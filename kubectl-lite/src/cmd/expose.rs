//! `expose`: a Service for the pods that an object selects. Knows no kind: it looks for a
//! selector, and takes the labels where there is none.

use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::create::{DryRun, Sending};
use crate::client::{Call, typed};
use crate::error::{Error, Result};
use crate::output::Format;
use crate::select;
use crate::{Context, say};

const EXAMPLES: &str = "Examples:
  kubectl-lite expose deployment web --port=80 --target-port=8080
  kubectl-lite expose deployment web --port=80 --type=NodePort
  kubectl-lite expose pod client --port=80 --name=client-http";

/// Take a deployment, pod or service and expose it as a new service
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME
    #[arg(required = true)]
    pub resource: Vec<String>,
    /// The Service's port; that of the containers where not given
    #[arg(long)]
    pub port: Option<u16>,
    /// The containers' port, a number or a name; the same as --port where not given
    #[arg(long)]
    pub target_port: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long)]
    pub protocol: Option<String>,
    /// The Service's name; that of the object where not given
    #[arg(long)]
    pub name: Option<String>,
    /// ClusterIP, NodePort or LoadBalancer
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// An address of the service range, or None for a headless Service
    #[arg(long, value_name = "ADDRESS")]
    pub cluster_ip: Option<String>,
    /// None or ClientIP
    #[arg(long, value_name = "AFFINITY")]
    pub session_affinity: Option<String>,
    #[command(flatten)]
    pub(super) sending: Sending,
}

/// Runs `expose`.
pub async fn run(arguments: Arguments, context: &Context) -> Result {
    let discovery = context.discovery().await?;
    let targets = select::targets(discovery, &arguments.resource, context.namespace())?;
    let [target] = &targets[..] else {
        return Err(Error::message("expose takes one object: TYPE NAME"));
    };
    if target.name.is_none() {
        return Err(Error::message("resource(s) were provided, but no name was specified"));
    }
    let object = context.server.call(Call::get(&target.path())).await?;
    let mut service = service(&arguments, &object)?;
    service["metadata"]["namespace"] = target.namespace.clone().into();
    if arguments.sending.dry_run != DryRun::Client {
        let path = discovery.find("services")?.collection(Some(&target.namespace));
        let call = Call::with_json(Method::POST, &path, &service)
            .parameter("fieldManager", "kubectl-expose");
        service = context.server.call(arguments.sending.dry_run.ask(call)).await?;
    }
    match &arguments.sending.output {
        Some(output) => Format::parse(Some(output))?.print(service, context).await,
        None => say(format!(
            "service/{} exposed{}",
            service["metadata"]["name"].as_str().unwrap_or_default(),
            arguments.sending.dry_run.suffix()
        )),
    }
}

/// What is read of the object to expose, whatever its kind.
#[derive(Deserialize)]
struct Exposed {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<Selector>,
    template: Option<PodTemplateSpec>,
    containers: Vec<Container>,
}

/// A Service's selector, or that of a controller.
#[derive(Deserialize)]
#[serde(untagged)]
enum Selector {
    Plain(BTreeMap<String, String>),
    Labels(LabelSelector),
}

/// The Service for an object.
fn service(arguments: &Arguments, object: &Value) -> Result<Value> {
    let exposed: Exposed = typed(object)?;
    let service = Service {
        metadata: ObjectMeta {
            name: arguments.name.clone().or(exposed.metadata.name.clone()),
            labels: exposed.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            ports: Some(ports(arguments, &exposed.spec)?),
            selector: Some(selector(exposed)?),
            type_: arguments.kind.clone(),
            cluster_ip: arguments.cluster_ip.clone(),
            session_affinity: arguments.session_affinity.clone(),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    serde_json::to_value(service).map_err(|error| Error::message(error.to_string()))
}

/// `matchLabels`, a plain selector, or the labels of what selects nothing itself.
fn selector(exposed: Exposed) -> Result<BTreeMap<String, String>> {
    let found = match exposed.spec.selector {
        Some(Selector::Labels(it))
            if it.match_expressions.as_ref().is_some_and(|it| !it.is_empty()) =>
        {
            return Err(Error::message(
                "couldn't convert expressions - a Service selects by labels alone: apply a Service of your own",
            ));
        }
        Some(Selector::Labels(labels)) => labels.match_labels,
        Some(Selector::Plain(labels)) => Some(labels),
        None => exposed.metadata.labels,
    };
    found
        .filter(|labels| !labels.is_empty())
        .ok_or_else(|| Error::message("the object has neither a selector nor labels to expose"))
}

/// `--port`, else every port of the containers.
fn ports(arguments: &Arguments, spec: &Spec) -> Result<Vec<ServicePort>> {
    let template = spec.template.as_ref().and_then(|it| it.spec.as_ref());
    let containers = template.map_or(&spec.containers, |it| &it.containers);
    let known = containers.iter().flat_map(|it| it.ports.iter().flatten());
    let found: Vec<(i32, Option<String>)> = match arguments.port {
        Some(port) => vec![(port.into(), None)],
        None => known.map(|port| (port.container_port, port.protocol.clone())).collect(),
    };
    if found.is_empty() {
        return Err(Error::message("couldn't find port via --port flag or introspection"));
    }
    let several = found.len() > 1;
    let target = |number: i32| match &arguments.target_port {
        Some(text) => match text.parse::<u16>() {
            Ok(number) => IntOrString::Int(number.into()),
            Err(_) => IntOrString::String(text.clone()),
        },
        None => IntOrString::Int(number),
    };
    let port = |(index, (number, protocol)): (usize, (i32, Option<String>))| ServicePort {
        name: several.then(|| format!("port-{}", index + 1)),
        port: number,
        target_port: Some(target(number)),
        protocol: arguments.protocol.clone().or(protocol).or(Some("TCP".to_owned())),
        ..ServicePort::default()
    };
    Ok(found.into_iter().enumerate().map(port).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn of(words: &str, object: &Value) -> Result<Value> {
        let words = ["expose"].into_iter().chain(words.split_whitespace());
        service(&Line::parse_from(words).arguments, object)
    }

    fn deployment() -> Value {
        json!({
            "metadata": {"name": "web", "labels": {"app": "web", "team": "x"}},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [
                    {"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]},
                ]}},
            },
        })
    }

    #[test]
    fn a_service_has_the_selector_and_the_port_that_was_asked_for() {
        let made = of("deployment web --port=80 --target-port=http --type=NodePort", &deployment());
        let made = made.expect("a Service");
        assert_eq!(made["metadata"]["name"], "web");
        assert_eq!(made["metadata"]["labels"]["team"], "x");
        assert_eq!(
            made["spec"],
            json!({
                "selector": {"app": "web"}, "type": "NodePort",
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}],
            })
        );
    }

    #[test]
    fn ports_come_from_the_containers_where_none_is_said() {
        let made = of("deployment web --name=other", &deployment()).expect("a Service");
        assert_eq!(made["metadata"]["name"], "other");
        assert_eq!(
            made["spec"]["ports"],
            json!([
                {"name": "port-1", "port": 80, "targetPort": 80, "protocol": "TCP"},
                {"name": "port-2", "port": 53, "targetPort": 53, "protocol": "UDP"},
            ])
        );
    }

    #[test]
    fn a_pod_is_selected_by_its_labels_and_a_service_by_its_own_selector() {
        let pod =
            json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": []}});
        let made = of("pod p --port=80", &pod).expect("a Service");
        assert_eq!(made["spec"]["selector"], json!({"a": "b"}));
        of("pod p", &pod).expect_err("no port anywhere");
        let service = json!({"metadata": {"name": "s"}, "spec": {"selector": {"c": "d"}}});
        let made = of("service s --port=80", &service).expect("a Service");
        assert_eq!(made["spec"]["selector"], json!({"c": "d"}));
        let bare = json!({"metadata": {"name": "x"}, "spec": {}});
        of("x x --port=80", &bare).expect_err("nothing to select by");
    }
}
