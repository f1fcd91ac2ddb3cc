//! `--dry-run`: the plan for this node as text, from the API or from a file. Never
//! touches the kernel.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;

use crate::catalog::{Catalog, Change};
use crate::config::Config;
use crate::mode::Entry;
use crate::node::{self, Place};
use crate::options::{Options, TABLE};
use crate::routes::{Destination, Family, Route, RouteTable};

/// Bytes of objects in a file at most; ten thousand Services are about a third.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Services, EndpointSlices and Nodes.
#[derive(Default)]
struct Objects {
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
    nodes: Vec<Node>,
}

/// Prints the plan.
///
/// # Errors
/// The objects cannot be read, the mode cannot show its plan, or another mode was asked
/// for than the notation's.
pub async fn run(
    modes: &'static [Entry],
    options: &Options,
    config: &Config,
    connect: impl AsyncFnOnce() -> anyhow::Result<Client>,
) -> anyhow::Result<()> {
    let mode = mode_of(modes, options, config)?;
    let objects = match &options.from {
        Some(path) => {
            let text = read(path).with_context(|| format!("cannot read {}", path.display()))?;
            parse(&text).with_context(|| format!("cannot use {}", path.display()))?
        }
        None => list(connect().await?).await?,
    };
    let text = render(config, mode, options.output.as_deref(), objects)?;
    // Whoever reads it may have seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// A notation is its mode's, whatever is configured; only a flag contradicts it.
fn mode_of(
    modes: &'static [Entry],
    options: &Options,
    config: &Config,
) -> anyhow::Result<&'static Entry> {
    let has = |mode: &&Entry| mode.notation.map(|(name, _)| name) == options.output.as_deref();
    let Some(mode) = options.output.as_ref().and_then(|_| modes.iter().find(has)) else {
        return Ok(config.mode);
    };
    let is_given = options.flags.given().any(|flag| flag == "proxy-mode");
    if is_given && mode != config.mode {
        bail!("mode {} is not written so: leave --proxy-mode or --output out", config.mode);
    }
    Ok(mode)
}

fn render(
    config: &Config,
    mode: &'static Entry,
    notation: Option<&str>,
    objects: Objects,
) -> anyhow::Result<String> {
    let config = Config { mode, ..config.clone() };
    let name = node::name(&config)?;
    let own = objects.nodes.into_iter().find(|node| node.metadata.name.as_ref() == Some(&name));
    let place = own.as_ref().map(Place::of).unwrap_or_default();
    if let Some(missing) = place.missing_for(&config) {
        bail!("Node {name} does not say its {missing}");
    }
    let mut catalog = Catalog::new(name);
    let nodes = own.into_iter().map(|node| Change::Node(Box::new(node)));
    let services = objects.services.into_iter();
    let slices = objects.slices.into_iter();
    nodes
        .chain(services.map(|service| Change::Service(Box::new(service))))
        .chain(slices.map(|slice| Change::Slice(Box::new(slice))))
        .for_each(|change| catalog.apply(change));
    catalog.take_dirty();
    if notation == Some(TABLE) {
        return Ok(table(&catalog));
    }
    let mut text = String::new();
    for family in [Family::V4, Family::V6] {
        let has_family = catalog.destinations().any(|to| to.family() == family);
        if has_family || family == Family::V4 {
            let settings = node::settings(&config, &place, family)?;
            text += &(mode.render)(&settings, &catalog);
        }
    }
    Ok(text)
}

/// One line for each destination, sorted.
fn table(catalog: &Catalog) -> String {
    let mut destinations: Vec<&Destination> = catalog.destinations().collect();
    destinations.sort();
    let mut text = String::new();
    for to in destinations {
        let Some((port, routes)) = catalog.claimed(to) else {
            continue;
        };
        let (protocol, number) = to.transport();
        let at = match to {
            Destination::Address { address, .. } => {
                std::net::SocketAddr::new(*address, number).to_string()
            }
            Destination::NodePort { family, .. } => match family {
                Family::V4 => format!("0.0.0.0:{number}"),
                Family::V6 => format!("[::]:{number}"),
            },
        };
        let _ = write!(text, "{at}/{protocol} {}", port.service);
        if !port.port.is_empty() {
            let _ = write!(text, ":{}", port.port);
        }
        if let Some(sources) = &routes.allowed_sources {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            let _ = write!(text, " from {}", sources.join(","));
        }
        let _ = write!(text, " => {}", route(&routes.inside));
        if let Some(outside) = &routes.outside {
            let _ = write!(text, "; from outside => {}", route(outside));
        }
        text.push('\n');
    }
    text
}

fn route(route: &Route) -> String {
    if route.endpoints.is_empty() {
        return format!("{:?}", route.unserved).to_lowercase();
    }
    let endpoints: Vec<String> = route.endpoints.iter().map(ToString::to_string).collect();
    let mut text = format!("{} masquerade={:?}", endpoints.join(","), route.masquerade);
    if let Some(affinity) = route.affinity {
        let _ = write!(text, " affinity={}s", affinity.timeout_seconds);
    }
    text
}

async fn list(client: Client) -> anyhow::Result<Objects> {
    let all = ListParams::default();
    let services: Api<Service> = Api::all(client.clone());
    let slices: Api<EndpointSlice> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client);
    Ok(Objects {
        services: services.list(&all).await.context("cannot list Services")?.items,
        slices: slices.list(&all).await.context("cannot list EndpointSlices")?.items,
        nodes: nodes.list(&all).await.context("cannot list Nodes")?.items,
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    let mut text = String::new();
    let length = source.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        bail!("there is more than {MAX_FILE_BYTES} bytes of it");
    }
    Ok(text)
}

/// Documents, each an object or a list of them; kinds that a proxy does not look at are
/// passed over, so that `kubectl get all -A -o yaml` will do.
fn parse(text: &str) -> anyhow::Result<Objects> {
    let documents: Vec<Value> = if text.trim_start().starts_with('{') {
        vec![serde_json::from_str(text).context("it is no JSON")?]
    } else {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        serde_saphyr::from_multiple_with_options(text, options).context("it is no YAML")?
    };
    let mut objects = Objects::default();
    for (index, document) in documents.into_iter().enumerate() {
        take(document, &mut objects).with_context(|| format!("document {}", index + 1))?;
    }
    Ok(objects)
}

fn take(mut object: Value, objects: &mut Objects) -> anyhow::Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "Service" => objects.services.push(decode(object)?),
        "EndpointSlice" => objects.slices.push(decode(object)?),
        "Node" => objects.nodes.push(decode(object)?),
        list if list.ends_with("List") => {
            let Value::Array(items) = object["items"].take() else {
                return Ok(());
            };
            for mut item in items {
                // A list of one kind need not repeat it.
                let item_kind = list.trim_end_matches("List");
                if item["kind"].is_null() && item.is_object() && !item_kind.is_empty() {
                    item["kind"] = item_kind.into();
                }
                take(item, objects)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn decode<T: serde::de::DeserializeOwned>(mut object: Value) -> anyhow::Result<T> {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    let name = object["metadata"]["name"].to_string();
    serde_json::from_value(object).with_context(|| format!("{name} cannot be decoded"))
}
