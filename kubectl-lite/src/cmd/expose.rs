//! `expose`: a Service for the pods that an object selects. Knows no kind: it looks for a
//! selector, and takes the labels where there is none.

use http::Method;
use serde_json::{Map, Value, json};

use super::create::{DryRun, Sending};
use crate::client::Call;
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
        let mut call = Call::with_json(Method::POST, &path, &service)
            .parameter("fieldManager", "kubectl-expose");
        if arguments.sending.dry_run == DryRun::Server {
            call = call.parameter("dryRun", "All");
        }
        service = context.server.call(call).await?;
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

/// The Service for an object.
fn service(arguments: &Arguments, object: &Value) -> Result<Value> {
    let name = arguments.name.as_deref();
    let name = name.or(object["metadata"]["name"].as_str());
    let mut spec = json!({"selector": selector(object)?, "ports": ports(arguments, object)?});
    for (field, value) in [
        ("type", &arguments.kind),
        ("clusterIP", &arguments.cluster_ip),
        ("sessionAffinity", &arguments.session_affinity),
    ] {
        if let Some(value) = value {
            spec[field] = json!(value);
        }
    }
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec,
    });
    if let labels @ Value::Object(_) = &object["metadata"]["labels"] {
        service["metadata"]["labels"] = labels.clone();
    }
    Ok(service)
}

/// `matchLabels`, a plain selector, or the labels of what selects nothing itself.
fn selector(object: &Value) -> Result<Map<String, Value>> {
    let selector = &object["spec"]["selector"];
    let expressions = selector["matchExpressions"].as_array();
    if expressions.is_some_and(|all| !all.is_empty()) {
        return Err(Error::message(
            "couldn't convert expressions - a Service selects by labels alone: apply a Service of your own",
        ));
    }
    let found = match selector {
        Value::Object(plain) if !plain.contains_key("matchLabels") => Some(plain),
        Value::Object(_) => selector["matchLabels"].as_object(),
        _ => object["metadata"]["labels"].as_object(),
    };
    found
        .filter(|labels| !labels.is_empty())
        .cloned()
        .ok_or_else(|| Error::message("the object has neither a selector nor labels to expose"))
}

/// `--port`, else every port of the containers.
fn ports(arguments: &Arguments, object: &Value) -> Result<Vec<Value>> {
    let template = &object["spec"]["template"]["spec"]["containers"];
    let containers = template.as_array().or(object["spec"]["containers"].as_array());
    let known = containers
        .into_iter()
        .flatten()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let given = arguments.port.map(|port| (json!(port), None));
    let found: Vec<(Value, Option<Value>)> = match given {
        Some(given) => vec![given],
        None => known
            .map(|port| (port["containerPort"].clone(), port.get("protocol").cloned()))
            .collect(),
    };
    if found.is_empty() {
        return Err(Error::message("couldn't find port via --port flag or introspection"));
    }
    let several = found.len() > 1;
    let port = |(index, (number, protocol)): (usize, (Value, Option<Value>))| {
        let target = match &arguments.target_port {
            Some(text) => text.parse::<u16>().map_or(json!(text), |port| json!(port)),
            None => number.clone(),
        };
        let given = arguments.protocol.as_ref().map(|text| json!(text));
        let protocol = given.or(protocol).unwrap_or_else(|| json!("TCP"));
        let mut port = json!({"port": number, "targetPort": target, "protocol": protocol});
        if several {
            port["name"] = json!(format!("port-{}", index + 1));
        }
        port
    };
    Ok(found.into_iter().enumerate().map(port).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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
