//! From a pod's container to what a runtime can start: environment, files, volumes.
//!
//! Reads ConfigMaps and Secrets, writes files below the pod's directory. Never starts anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, KeyToPath, Pod, Secret, Volume};
use kube::{Api, ResourceExt};

use crate::context::Context;
use crate::images::{self, Image};
use crate::shim::spec::{ContainerSpec, MountSpec};
use crate::shim::{all_capabilities, capability_number};
use crate::{env, resolv};

/// Everything about one container instance, ready for the runtime.
pub async fn container_spec(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    image: &Image,
    (id, attempt, pod_ip): (String, u32, &str),
    directory: &Path,
) -> Result<ContainerSpec> {
    let environment = environment(ctx, pod, container, image, pod_ip).await?;
    let known: BTreeMap<String, String> = environment.iter().cloned().collect();
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| env::expand(word, &known)).collect()
    };
    let security = container.security_context.clone().unwrap_or_default();
    let added = security.capabilities.and_then(|capabilities| capabilities.add).unwrap_or_default();
    let add_capabilities = if added.iter().any(|name| name == "ALL") {
        all_capabilities().collect()
    } else {
        added.iter().filter_map(|name| capability_number(name)).collect()
    };
    Ok(ContainerSpec {
        id,
        name: container.name.clone(),
        attempt,
        root: image.root.clone(),
        argv: images::argv(image, &expand(&container.command), &expand(&container.args)),
        env: environment,
        cwd: container.working_dir.clone().unwrap_or_else(|| "/".into()),
        mounts: mounts(ctx, pod, container, pod_ip, directory).await?,
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        privileged: security.privileged.unwrap_or(false),
        add_capabilities,
        log: directory.join("logs").join(&container.name).join(format!("{attempt}.log")),
    })
}

async fn environment(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    image: &Image,
    pod_ip: &str,
) -> Result<Vec<(String, String)>> {
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    let namespace = pod.namespace().unwrap_or_default();
    let services: Vec<_> =
        ctx.services.cache.all().iter().map(|service| service.as_ref().clone()).collect();
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.extend(image.env.iter().cloned());
    all.insert(
        "HOSTNAME".into(),
        if spec.host_network == Some(true) {
            ctx.node_name.clone()
        } else {
            resolv::host_name(pod)
        },
    );
    all.extend(env::service_env(&services, &namespace, spec.enable_service_links.unwrap_or(true)));
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let (name, optional, secret) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => (&reference.name, reference.optional, false),
            (_, Some(reference)) => (&reference.name, reference.optional, true),
            _ => continue,
        };
        let data = keyed_data(ctx, &namespace, name, secret, optional.unwrap_or(false)).await?;
        all.extend(data.into_iter().map(|(key, value)| {
            (format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned())
        }));
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(env::expand(variable.value.as_deref().unwrap_or_default(), &all)),
            Some(_) => referred(ctx, pod, variable, pod_ip).await?,
        };
        if let Some(value) = value {
            all.insert(variable.name.clone(), value);
        }
    }
    Ok(all.into_iter().collect())
}

async fn referred(
    ctx: &Context,
    pod: &Pod,
    variable: &EnvVar,
    pod_ip: &str,
) -> Result<Option<String>> {
    let Some(source) = &variable.value_from else {
        return Ok(None);
    };
    if let Some(field) = &source.field_ref {
        return field_value(ctx, pod, &field.field_path, pod_ip).map(Some);
    }
    let (name, key, optional, secret) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(reference), _) => (&reference.name, &reference.key, reference.optional, false),
        (_, Some(reference)) => (&reference.name, &reference.key, reference.optional, true),
        _ => {
            bail!("environment variable {}: this kind of valueFrom is not supported", variable.name)
        }
    };
    let optional = optional.unwrap_or(false);
    let mut data =
        keyed_data(ctx, &pod.namespace().unwrap_or_default(), name, secret, optional).await?;
    match data.remove(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        None if optional => Ok(None),
        None => bail!(
            "couldn't find key {key} in {} {name}",
            if secret { "Secret" } else { "ConfigMap" }
        ),
    }
}

fn field_value(ctx: &Context, pod: &Pod, path: &str, pod_ip: &str) -> Result<String> {
    let spec = pod.spec.as_ref();
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    if let Some(key) = subscript("metadata.labels['") {
        return Ok(pod.labels().get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript("metadata.annotations['") {
        return Ok(pod.annotations().get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => ctx.node_name.clone(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" | "status.hostIPs" => ctx.node_ip.to_string(),
        "status.podIP" | "status.podIPs" => pod_ip.to_owned(),
        _ => bail!("unsupported fieldPath: {path}"),
    })
}

/// The entries of a ConfigMap or Secret.
async fn keyed_data(
    ctx: &Context,
    namespace: &str,
    name: &str,
    secret: bool,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>> {
    if secret {
        let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
        let found = api.get_opt(name).await.with_context(|| format!("read secret {name}"))?;
        return match found {
            Some(secret) => {
                Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect())
            }
            None if optional => Ok(BTreeMap::new()),
            None => Err(anyhow!("secret \"{name}\" not found")),
        };
    }
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let found = api.get_opt(name).await.with_context(|| format!("read configmap {name}"))?;
    match found {
        Some(map) => {
            let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            Ok(text
                .chain(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0)))
                .collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(anyhow!("configmap \"{name}\" not found")),
    }
}

async fn mounts(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    pod_ip: &str,
    directory: &Path,
) -> Result<Vec<MountSpec>> {
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    let mut mounts = name_files(ctx, pod, pod_ip, directory)?;
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let volume = volume.with_context(|| {
            format!("volume {} of container {} is not in the pod", mount.name, container.name)
        })?;
        let mut source = volume_source(ctx, pod, volume, directory).await?;
        if let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            if sub_path.split('/').any(|part| part == "..") || sub_path.starts_with('/') {
                bail!("subPath {sub_path} leaves its volume");
            }
            source.push(sub_path);
            if !source.exists() {
                std::fs::create_dir_all(&source)
                    .with_context(|| format!("make subPath {sub_path}"))?;
            }
        }
        let fixed = volume.config_map.is_some() || volume.secret.is_some();
        mounts.push(MountSpec {
            source,
            target: mount.mount_path.clone(),
            read_only: fixed || mount.read_only.unwrap_or(false),
        });
    }
    Ok(mounts)
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, one of each a pod.
fn name_files(ctx: &Context, pod: &Pod, pod_ip: &str, directory: &Path) -> Result<Vec<MountSpec>> {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let node_resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hosts = if host_network {
        let aliases =
            resolv::aliases(spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default());
        std::fs::read_to_string("/etc/hosts").unwrap_or_default() + &aliases
    } else {
        resolv::hosts(pod, pod_ip, &ctx.dns.domain)
    };
    let name = if host_network { ctx.node_name.clone() } else { resolv::host_name(pod) };
    let files = [
        ("hosts", hosts),
        ("hostname", name + "\n"),
        ("resolv.conf", resolv::resolv_conf(pod, &ctx.dns, &node_resolv)),
    ];
    let mut mounts = Vec::new();
    for (file, text) in files {
        let source = directory.join("etc").join(file);
        std::fs::create_dir_all(directory.join("etc"))?;
        std::fs::write(&source, text).with_context(|| format!("write {}", source.display()))?;
        mounts.push(MountSpec { source, target: format!("/etc/{file}"), read_only: false });
    }
    Ok(mounts)
}

async fn volume_source(
    ctx: &Context,
    pod: &Pod,
    volume: &Volume,
    directory: &Path,
) -> Result<PathBuf> {
    if let Some(host) = &volume.host_path {
        return host_path(&host.path, host.type_.as_deref().unwrap_or_default());
    }
    let path = directory.join("volumes").join(&volume.name);
    std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    let namespace = pod.namespace().unwrap_or_default();
    if volume.empty_dir.is_some() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    } else if let Some(source) = &volume.config_map {
        let data =
            keyed_data(ctx, &namespace, &source.name, false, source.optional.unwrap_or(false))
                .await?;
        write_data(&path, data, source.items.as_deref(), source.default_mode)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().context("the volume names no secret")?;
        let data =
            keyed_data(ctx, &namespace, name, true, source.optional.unwrap_or(false)).await?;
        write_data(&path, data, source.items.as_deref(), source.default_mode)?;
    } else {
        bail!(
            "volume {}: only hostPath, emptyDir, configMap and secret volumes are supported",
            volume.name
        );
    }
    Ok(path)
}

fn host_path(path: &str, kind: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    match kind {
        "DirectoryOrCreate" => {
            std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?
        }
        "FileOrCreate" if !path.exists() => {
            std::fs::write(&path, "").with_context(|| format!("make {}", path.display()))?
        }
        "Directory" if !path.is_dir() => {
            bail!("hostPath type check failed: {} is not a directory", path.display())
        }
        "File" if !path.is_file() => {
            bail!("hostPath type check failed: {} is not a file", path.display())
        }
        _ => {}
    }
    if !path.exists() {
        bail!("hostPath {} does not exist on this node", path.display());
    }
    Ok(path)
}

fn write_data(
    path: &Path,
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let chosen: Vec<(String, Vec<u8>)> = match items {
        None => data.into_iter().collect(),
        Some(items) => items
            .iter()
            .filter_map(|item| Some((item.path.clone(), data.remove(&item.key)?)))
            .collect(),
    };
    for (name, bytes) in chosen {
        if name.split('/').any(|part| part == "..") || name.starts_with('/') {
            bail!("item path {name} leaves its volume");
        }
        let file = path.join(&name);
        std::fs::create_dir_all(file.parent().unwrap_or(path))?;
        std::fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))?;
        std::fs::set_permissions(
            &file,
            std::fs::Permissions::from_mode(mode.unwrap_or(0o644) as u32),
        )?;
    }
    Ok(())
}
