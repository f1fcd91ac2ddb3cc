//! The cluster's node proxy as objects: a DaemonSet, the ConfigMap with its configuration, and
//! a Secret with its credential. After the first start the ConfigMap is the user's.

use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;

use super::ranges::Ranges;

/// Name of all three objects.
pub const NAME: &str = "kube-proxy";
/// Label of the proxy's pods.
const LABEL: &str = "kube-proxy";
/// Where the pods have the ConfigMap's files.
const CONFIG_MOUNT: &str = "/var/lib/kube-proxy";
/// Where the pods have the Secret's files.
const CREDENTIAL_MOUNT: &str = "/etc/coracle";
const KUBECONFIG: &str = "kubeconfig";
/// The ConfigMap's key.
pub const CONFIG_FILE: &str = "config.conf";
/// The port of `/healthz`.
const HEALTH_PORT: u16 = 10256;

/// A file of the kind `KubeProxyConfiguration`: mode nftables, what is not said is default.
pub fn config_map(ranges: &Ranges) -> Result<ConfigMap> {
    let config = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\n\
         {}\
         clusterCIDR: {}\n\
         mode: nftables\n",
        credential(),
        ranges.pod_cidr
    );
    Ok(serde_json::from_value(json!({
        "metadata": {"name": NAME, "labels": {"app": LABEL}},
        "data": {CONFIG_FILE: config},
    }))?)
}

/// The lines of the configuration that say where the credential is.
fn credential() -> String {
    format!("clientConnection:\n  kubeconfig: {CREDENTIAL_MOUNT}/{KUBECONFIG}\n")
}

/// A configuration of a lab from when a flag said where the credential is, with that place;
/// none where it says one itself.
pub fn mended(config: &str) -> Option<String> {
    let says = config.contains("clientConnection");
    (!says).then(|| format!("{}\n{}", config.trim_end(), credential()))
}

/// The credential, as the text of a kubeconfig.
pub fn secret(kubeconfig: &str) -> Result<Secret> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": NAME, "labels": {"app": LABEL}},
        "stringData": {KUBECONFIG: kubeconfig},
    }))?)
}

/// One proxy a node, on the node's own network. It must run before anything that needs a
/// Service, so it tolerates every taint and asks for no Service itself.
pub fn daemon_set() -> Result<DaemonSet> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": NAME, "labels": {"k8s-app": LABEL}},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": LABEL}},
            // All at once: the rules stay while the agents change.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": {"k8s-app": LABEL}},
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{"operator": "Exists"}],
                    "enableServiceLinks": false,
                    "containers": [{
                        "name": "kube-proxy",
                        "image": "coracle.local/proxy-agent",
                        "args": [
                            format!("--config={CONFIG_MOUNT}/{CONFIG_FILE}"),
                            "--hostname-override=$(NODE_NAME)",
                        ],
                        "env": [{
                            "name": "NODE_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                        }],
                        "readinessProbe": {
                            "httpGet": {"path": "/healthz", "port": HEALTH_PORT},
                            "periodSeconds": 2,
                        },
                        "securityContext": {"privileged": true},
                        "volumeMounts": [
                            {"name": "config", "mountPath": CONFIG_MOUNT, "readOnly": true},
                            {"name": "credential", "mountPath": CREDENTIAL_MOUNT, "readOnly": true},
                        ],
                    }],
                    "volumes": [
                        {"name": "config", "configMap": {"name": NAME}},
                        {"name": "credential", "secret": {"secretName": NAME, "defaultMode": 0o400}},
                    ],
                },
            },
        },
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_configuration_gets_the_place_of_the_credential() {
        let former = "kind: KubeProxyConfiguration\nmode: iptables\n";
        let mended_once = mended(former).expect("it says no place");
        assert_eq!(
            mended_once,
            "kind: KubeProxyConfiguration\nmode: iptables\n\
             clientConnection:\n  kubeconfig: /etc/coracle/kubeconfig\n"
        );
        assert_eq!(mended(&mended_once), None);
    }
}
