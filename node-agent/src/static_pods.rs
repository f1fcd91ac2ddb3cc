//! Static pods: manifests in a folder of the node, run whatever the API server says.
//!
//! A pod's identity is a hash of its manifest: a changed file is another pod. Never runs
//! anything, and never shows a pod in the API: that is `mirrors`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
/// A larger manifest is refused.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The pods in `folder`, by their UIDs on this node. A file that is no pod is left out, and said.
pub fn read_folder(folder: &Path, node: &str) -> BTreeMap<String, Pod> {
    let mut pods = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return pods;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        match read_manifest(&path, node) {
            Ok((uid, pod)) => drop(pods.insert(uid, pod)),
            Err(error) => tracing::warn!("static pod {}: {error:#}", path.display()),
        }
    }
    pods
}

fn read_manifest(path: &Path, node: &str) -> Result<(String, Pod)> {
    if std::fs::metadata(path)?.len() > MAX_MANIFEST_BYTES {
        bail!("the manifest is longer than {MAX_MANIFEST_BYTES} bytes");
    }
    let text = std::fs::read_to_string(path).context("read the manifest")?;
    let hash = fnv128(&[node, &path.to_string_lossy(), &text]);
    Ok((hash.clone(), parse(&text, node, &hash)?))
}

fn parse(text: &str, node: &str, hash: &str) -> Result<Pod> {
    // As JSON has them: `on`, `no` and `y` are text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: serde_json::Value =
        serde_saphyr::from_str_with_options(text, options).context("parse the manifest")?;
    if value["kind"] != "Pod" {
        bail!("kind is {}, not Pod", value["kind"]);
    }
    let mut pod: Pod = serde_json::from_value(value).context("the manifest is no Pod")?;
    let name = pod.metadata.name.clone().context("the pod has no name")?;
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.uid = Some(hash.to_owned());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.into(), hash.into());
    annotations.insert(SOURCE.into(), "file".into());
    let spec = pod.spec.as_mut().context("the pod has no spec")?;
    spec.node_name = Some(node.to_owned());
    if spec.containers.is_empty() {
        bail!("the pod has no container");
    }
    let tolerate_all =
        serde_json::from_value(json!({"operator": "Exists", "effect": "NoExecute"}))?;
    spec.tolerations.get_or_insert_default().push(tolerate_all);
    Ok(pod)
}

/// FNV-1a over the parts, 128 bits as 32 hex digits: an identity, not a protection.
fn fnv128(parts: &[&str]) -> String {
    let mut hash: u128 = 0x6c62272e07bb014262b821756295c58d;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013b);
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: dns\n  namespace: kube-system\nspec:\n  containers:\n  - {name: a, image: x}\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dns.yaml"), text).unwrap();
        std::fs::write(dir.path().join("bad.yaml"), "kind: Pod\nmetadata: [").unwrap();
        std::fs::write(dir.path().join("other.yaml"), "kind: Service\nmetadata: {name: x}")
            .unwrap();
        let pods = read_folder(dir.path(), "worker-1");
        assert_eq!(pods.len(), 1);
        let (uid, pod) = pods.first_key_value().unwrap();
        assert_eq!(
            (pod.name_any(), pod.uid().as_deref(), uid.len()),
            ("dns-worker-1".into(), Some(uid.as_str()), 32)
        );
        std::fs::write(dir.path().join("dns.yaml"), text.replace("image: x", "image: y")).unwrap();
        assert_ne!(
            read_folder(dir.path(), "worker-1").first_key_value().unwrap().0,
            uid,
            "a changed file is another pod"
        );
    }
}
