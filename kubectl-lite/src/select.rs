//! Which objects a command means: `TYPE[,TYPE] [NAME…]`, `TYPE/NAME…`, files.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Context;
use crate::client::Call;
use crate::discovery::{Discovery, Kind};
use crate::error::{Error, Result};
use crate::manifest::{self, Manifest};

/// A kind, or one object of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without.
    pub namespace: String,
    /// `None` means all of them.
    pub name: Option<String>,
}

impl Target {
    /// Path of the object, or of the collection.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => self.kind.object(&self.namespace, name),
            None => self.kind.collection(Some(&self.namespace)),
        }
    }

    /// `deployment.apps/web`.
    pub fn shown(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        format!("{}/{name}", self.kind.qualified_singular())
    }
}

/// What is read of objects whose names are wanted.
#[derive(serde::Deserialize)]
struct Named {
    metadata: ObjectMeta,
}

/// Flags that choose objects, for commands that change them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Label selector: key=value, key!=value, key in (a,b), key, !key
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// All objects of the kind in the namespace
    #[arg(long)]
    pub all: bool,
    /// Files, folders or - with the objects
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<PathBuf>,
    /// Folders below the given ones too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

impl Selection {
    /// The objects meant by these arguments and flags. Errors of single files or
    /// names come beside what was found.
    pub async fn find(
        &self,
        context: &Context,
        arguments: &[String],
    ) -> Result<(Vec<Target>, Vec<Error>)> {
        let discovery = context.discovery().await?;
        if !self.filename.is_empty() {
            let (manifests, mut errors) = manifest::read(&self.filename, self.recursive);
            let mut targets = Vec::new();
            for manifest in manifests {
                match of_manifest(discovery, &manifest, context) {
                    Ok(target) => targets.push(target),
                    Err(error) => errors.push(error),
                }
            }
            return Ok((targets, errors));
        }
        let mut found = Vec::new();
        for target in targets(discovery, arguments, context.namespace())? {
            if target.name.is_some() {
                if self.selector.is_some() {
                    let text = "name cannot be provided when a selector is specified";
                    return Err(Error::message(text));
                }
                found.push(target);
                continue;
            }
            if self.selector.is_none() && !self.all {
                let text = "resource(s) were provided, but no name was specified";
                return Err(Error::message(text));
            }
            let named: Vec<Named> = list(context, &target, self.selector.as_deref()).await?;
            found.extend(
                named
                    .into_iter()
                    .map(|object| Target { name: object.metadata.name, ..target.clone() }),
            );
        }
        Ok((found, Vec::new()))
    }
}

/// The objects of a collection.
pub async fn list<T: DeserializeOwned>(
    context: &Context,
    target: &Target,
    selector: Option<&str>,
) -> Result<Vec<T>> {
    let path = target.path();
    let mut call = Call::get(&path);
    if let Some(selector) = selector {
        call = call.parameter("labelSelector", selector);
    }
    context.server.list(call).await
}

/// Reads `TYPE[,TYPE] [NAME…]` or `TYPE/NAME…`.
pub fn targets(
    discovery: &Discovery,
    arguments: &[String],
    namespace: &str,
) -> Result<Vec<Target>> {
    let target = |kind: &Kind, name: Option<&str>| Target {
        kind: kind.clone(),
        namespace: if kind.namespaced { namespace.to_owned() } else { String::new() },
        name: name.map(str::to_owned),
    };
    let Some(first) = arguments.first() else {
        return Err(Error::message(
            "Required resource not specified.\nName a kind: \"kubectl-lite api-resources\" lists them",
        ));
    };
    let mut found = Vec::new();
    if arguments.iter().any(|argument| argument.contains('/')) {
        for argument in arguments {
            let Some((kind, name)) = argument.split_once('/') else {
                return Err(Error::message(format!(
                    "there is no need to specify a resource type as a separate argument when passing \
                     arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead \
                     of 'kubectl get resource resource/<resource_name>'): {argument:?}"
                )));
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return Err(Error::message(format!(
                    "arguments in resource/name form must have a single resource and name: {argument:?}"
                )));
            }
            found.push(target(discovery.find(kind)?, Some(name)));
        }
        return Ok(found);
    }
    for word in first.split(',').filter(|word| !word.is_empty()) {
        let category = discovery.category(word);
        let kinds = if category.is_empty() { vec![discovery.find(word)?] } else { category };
        for kind in kinds {
            if arguments.len() == 1 {
                found.push(target(kind, None));
            }
            found.extend(arguments[1..].iter().map(|name| target(kind, Some(name))));
        }
    }
    Ok(found)
}

/// The target a manifest describes.
pub fn of_manifest(
    discovery: &Discovery,
    manifest: &Manifest,
    context: &Context,
) -> Result<Target> {
    let object = &manifest.object;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let Some(known) = discovery.of_object(&api_version, &kind) else {
        return Err(Error::message(format!(
            "resource mapping not found for name: {:?} namespace: {:?} from {:?}: no matches for kind \
             {kind:?} in version {api_version:?}\nensure CRDs are installed first",
            manifest.name(),
            text(&object["metadata"]["namespace"]),
            manifest.source,
        )));
    };
    let named = object["metadata"]["namespace"].as_str();
    if let (Some(named), Some(wanted)) = (named, &context.global.namespace)
        && known.namespaced
        && named != wanted
    {
        return Err(Error::message(format!(
            "the namespace from the provided object {named:?} does not match the namespace {wanted:?}. \
             You must pass '--namespace={named}' to perform this operation."
        )));
    }
    let namespace = if known.namespaced { named.unwrap_or(context.namespace()) } else { "" };
    let name = manifest.name();
    Ok(Target {
        kind: known.clone(),
        namespace: namespace.to_owned(),
        name: (!name.is_empty()).then(|| name.to_owned()),
    })
}
