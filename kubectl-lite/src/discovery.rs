//! Which kinds the server has, and what they are called. Never assumes one.

use serde_json::Value;

use crate::client::{Call, Server};
use crate::error::{Error, Result};

/// Aggregated discovery, and the plain one for servers without it.
const ACCEPT_AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One kind as the server offers it in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core one.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind, as in manifests.
    pub kind: String,
    /// Plural name, as in paths.
    pub resource: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What can be done.
    pub verbs: Vec<String>,
    /// Categories, as `all`.
    pub categories: Vec<String>,
    /// Subresources, without the resource's name.
    pub subresources: Vec<String>,
    /// Whether this is the version the server prefers.
    pub preferred: bool,
}

impl Kind {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.clone();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// `deployments.apps`, or `services`.
    pub fn qualified_resource(&self) -> String {
        self.qualified(&self.resource)
    }

    /// `deployment.apps`, or `service`: what stands before a name in messages.
    pub fn qualified_singular(&self) -> String {
        self.qualified(&self.singular)
    }

    fn qualified(&self, name: &str) -> String {
        if self.group.is_empty() {
            return name.to_owned();
        }
        format!("{name}.{}", self.group)
    }

    /// Path of the collection; `namespace` is ignored by kinds that have none.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{root}/namespaces/{namespace}/{}", self.resource)
            }
            _ => format!("{root}/{}", self.resource),
        }
    }

    /// Path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }

    fn is_called(&self, name: &str) -> bool {
        self.resource == name
            || self.singular == name
            || self.kind.to_lowercase() == name
            || self.short_names.iter().any(|it| it == name)
    }
}

/// Every kind of a server, preferred versions first within a group.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// In the server's order.
    pub kinds: Vec<Kind>,
}

impl Discovery {
    /// Asks the server.
    pub async fn fetch(server: &Server) -> Result<Self> {
        let mut kinds = Vec::new();
        for root in ["/api", "/apis"] {
            let mut call = Call::get(root);
            call.accept = Some(ACCEPT_AGGREGATED);
            let answer = server.call(call).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                kinds.extend(aggregated(&answer));
            } else {
                kinds.extend(plain(server, root, &answer).await?);
            }
        }
        Ok(Self { kinds })
    }

    /// The kind that `name` stands for: `svc`, `deployments.apps`, `deployments.v1.apps`.
    pub fn find(&self, name: &str) -> Result<&Kind> {
        let lower = name.to_lowercase();
        let mut parts = lower.splitn(2, '.');
        let (short, rest) = (parts.next().unwrap_or_default(), parts.next());
        let found = match rest {
            None => self.best(|kind| kind.is_called(short)),
            Some(rest) => self
                .best(|kind| kind.is_called(short) && kind.group == rest)
                .or_else(|| {
                    let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
                    let in_version = |kind: &&Kind| kind.version == version && kind.group == group;
                    let mut kinds = self.kinds.iter().filter(in_version);
                    kinds.find(|kind| kind.is_called(short))
                })
                // `deployments.app` finds `apps`, as with kubectl.
                .or_else(|| {
                    self.best(|kind| kind.is_called(short) && kind.group.starts_with(rest))
                }),
        };
        found.ok_or_else(|| {
            Error::message(format!("the server doesn't have a resource type {name:?}"))
        })
    }

    /// The preferred one of the kinds that fit, else the first.
    fn best(&self, fits: impl Fn(&Kind) -> bool) -> Option<&Kind> {
        let mut fitting = self.kinds.iter().filter(|kind| fits(kind));
        let first = fitting.clone().next();
        fitting.find(|kind| kind.preferred).or(first)
    }

    /// The kinds of a category, in the server's order; empty if there is no such category.
    pub fn category(&self, name: &str) -> Vec<&Kind> {
        let member = |kind: &&Kind| kind.preferred && kind.categories.iter().any(|it| it == name);
        self.kinds.iter().filter(member).collect()
    }

    /// The kind of a manifest.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let fits = |it: &&Kind| it.kind == kind && it.api_version() == api_version;
        self.kinds.iter().find(fits)
    }
}

fn aggregated(answer: &Value) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for group in items(&answer["items"]) {
        for (index, version) in items(&group["versions"]).enumerate() {
            for resource in items(&version["resources"]) {
                let mut kind = Kind {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    resource: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    short_names: texts(&resource["shortNames"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                    categories: texts(&resource["categories"]),
                    subresources: items(&resource["subresources"])
                        .map(|it| text(&it["subresource"]))
                        .collect(),
                    preferred: index == 0,
                };
                if kind.singular.is_empty() {
                    kind.singular = kind.kind.to_lowercase();
                }
                kinds.push(kind);
            }
        }
    }
    kinds
}

async fn plain(server: &Server, root: &str, answer: &Value) -> Result<Vec<Kind>> {
    let mut versions: Vec<(String, String, bool)> = Vec::new();
    for version in items(&answer["versions"]) {
        versions.push((String::new(), text(version), versions.is_empty()));
    }
    for group in items(&answer["groups"]) {
        for version in items(&group["versions"]) {
            let preferred = version["version"] == group["preferredVersion"]["version"];
            versions.push((text(&group["name"]), text(&version["version"]), preferred));
        }
    }
    let mut kinds = Vec::new();
    for (group, version, preferred) in versions {
        let path = if group.is_empty() {
            format!("{root}/{version}")
        } else {
            format!("{root}/{group}/{version}")
        };
        let list = server.call(Call::get(&path)).await?;
        let all = || items(&list["resources"]);
        for resource in all().filter(|it| !text(&it["name"]).contains('/')) {
            let name = text(&resource["name"]);
            let prefix = format!("{name}/");
            let kind = text(&resource["kind"]);
            let singular = text(&resource["singularName"]);
            let below =
                all().filter_map(|it| Some(it["name"].as_str()?.strip_prefix(&prefix)?.to_owned()));
            kinds.push(Kind {
                group: group.clone(),
                version: version.clone(),
                singular: if singular.is_empty() { kind.to_lowercase() } else { singular },
                kind,
                short_names: texts(&resource["shortNames"]),
                namespaced: resource["namespaced"] == true,
                verbs: texts(&resource["verbs"]),
                categories: texts(&resource["categories"]),
                subresources: below.collect(),
                resource: name,
                preferred,
            });
        }
    }
    Ok(kinds)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}
