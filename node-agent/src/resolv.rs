//! The text of a pod's `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`. Pure.
//!
//! Never reads the node's files: their text is handed in.

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodDNSConfig};

/// As upstream bounds them.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
/// The longest name a host may have on Linux.
const HOST_NAME_MAX: usize = 63;

/// What the cluster's DNS is.
#[derive(Clone, Debug)]
pub struct ClusterDns {
    /// The address of its Service, where there is one.
    pub server: Option<String>,
    /// Without dots at either end.
    pub domain: String,
}

#[derive(Default)]
struct Resolv {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// `/etc/resolv.conf` of a pod, from its `dnsPolicy` and `dnsConfig` and the node's own file.
pub fn resolv_conf(pod: &Pod, cluster: &ClusterDns, node: &str) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut resolv = match (policy, &cluster.server) {
        ("None", _) => Resolv::default(),
        ("ClusterFirst", Some(server)) if !host_network => {
            cluster_first(server, &cluster.domain, namespace, node)
        }
        ("ClusterFirstWithHostNet", Some(server)) => {
            cluster_first(server, &cluster.domain, namespace, node)
        }
        _ => parse(node),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        merge(&mut resolv, config);
    }
    render(&resolv)
}

fn cluster_first(server: &str, domain: &str, namespace: &str, node: &str) -> Resolv {
    let mut searches =
        vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    searches.extend(parse(node).searches);
    Resolv { servers: vec![server.to_owned()], searches, options: vec!["ndots:5".into()] }
}

fn parse(text: &str) -> Resolv {
    let mut resolv = Resolv::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let words = words.map(str::to_owned);
        match keyword {
            Some("nameserver") => resolv.servers.extend(words.take(1)),
            // The last line counts.
            Some("search" | "domain") => resolv.searches = words.collect(),
            Some("options") => resolv.options.extend(words),
            _ => {}
        }
    }
    resolv
}

fn merge(resolv: &mut Resolv, config: &PodDNSConfig) {
    resolv.servers.extend(config.nameservers.iter().flatten().cloned());
    resolv.searches.extend(config.searches.iter().flatten().cloned());
    for option in config.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        resolv.options.retain(|old| old.split(':').next() != Some(name));
        resolv.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
    }
}

fn unique(list: &[String], most: usize) -> Vec<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for word in list {
        if !seen.contains(&word.as_str()) && seen.len() < most {
            seen.push(word);
        }
    }
    seen
}

fn render(resolv: &Resolv) -> String {
    let mut text = String::new();
    let searches = unique(&resolv.searches, MAX_SEARCHES);
    if !searches.is_empty() {
        text += &format!("search {}\n", searches.join(" "));
    }
    for server in unique(&resolv.servers, MAX_NAMESERVERS) {
        text += &format!("nameserver {server}\n");
    }
    if !resolv.options.is_empty() {
        text += &format!("options {}\n", resolv.options.join(" "));
    }
    text
}

/// The host name inside a pod: `spec.hostname` or its own name, cut to what a host's name may be.
pub fn host_name(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let name = spec
        .and_then(|spec| spec.hostname.as_deref())
        .or(pod.metadata.name.as_deref())
        .unwrap_or("localhost");
    let cut = name.char_indices().nth(HOST_NAME_MAX).map_or(name, |(at, _)| &name[..at]);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// `/etc/hosts` of a pod that has an address of its own.
pub fn hosts(pod: &Pod, pod_ip: &str, domain: &str) -> String {
    let spec = pod.spec.as_ref();
    let name = host_name(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         fe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    match spec.and_then(|spec| spec.subdomain.as_deref()) {
        Some(subdomain) => {
            text += &format!("{pod_ip}\t{name}.{subdomain}.{namespace}.svc.{domain}\t{name}\n")
        }
        None => text += &format!("{pod_ip}\t{name}\n"),
    }
    text + &aliases(spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default())
}

/// The lines that `hostAliases` add.
pub fn aliases(aliases: &[HostAlias]) -> String {
    let mut text = String::new();
    for alias in aliases {
        text += &format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "# a comment\nnameserver 9.9.9.9\nsearch example.org\noptions edns0\n";

    fn resolved(spec: serde_json::Value) -> String {
        let pod =
            serde_json::json!({"metadata": {"name": "web-1", "namespace": "shop"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        resolv_conf(
            &pod,
            &ClusterDns { server: Some("10.96.0.10".into()), domain: "cluster.local".into() },
            NODE,
        )
    }

    #[test]
    fn policies() {
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.96.0.10\noptions ndots:5\n";
        let node = "search example.org\nnameserver 9.9.9.9\noptions edns0\n";
        for (spec, want) in [
            (serde_json::json!({"containers": []}), cluster),
            (serde_json::json!({"containers": [], "hostNetwork": true}), node),
            (
                serde_json::json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                cluster,
            ),
            (serde_json::json!({"containers": [], "dnsPolicy": "Default"}), node),
            (
                serde_json::json!({"containers": [], "dnsPolicy": "None",
                    "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}}),
                "nameserver 1.1.1.1\noptions ndots:2 rotate\n",
            ),
        ] {
            assert_eq!(resolved(spec.clone()), want, "{spec}");
        }
        let merged = resolved(
            serde_json::json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}),
        );
        assert!(merged.ends_with("options ndots:1\n"), "{merged}");
    }

    #[test]
    fn hosts_name_the_pod() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "a-0", "namespace": "shop"},
            "spec": {"containers": [], "subdomain": "db", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["x", "y"]}]}}))
        .unwrap();
        let text = hosts(&pod, "10.244.1.2", "cluster.local");
        assert!(
            text.ends_with("10.244.1.2\ta-0.db.shop.svc.cluster.local\ta-0\n1.2.3.4\tx\ty\n"),
            "{text}"
        );
        let mut long = Pod::default();
        long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(9)));
        assert_eq!(host_name(&long), "a".repeat(62));
    }
}
