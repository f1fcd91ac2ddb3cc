//! A container's environment: the Services that exist when it starts, and the pod's own words. Pure.
//!
//! Never reads an object from anywhere: what a reference names is handed in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// Variables of the Services a pod can see: those of its namespace, and `default/kubernetes` where
/// its namespace has none of that name. `links` is the pod's `enableServiceLinks`: without it only
/// the API server is named.
pub fn service_env(services: &[Service], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut seen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(name), Some(of)) =
            (service.metadata.name.as_deref(), service.metadata.namespace.as_deref())
        else {
            continue;
        };
        if address(service).is_none() {
            continue;
        }
        if of == "default" && name == "kubernetes" {
            seen.entry(name).or_insert(service);
        } else if of == namespace && links {
            seen.insert(name, service);
        }
    }
    seen.into_iter().flat_map(|(name, service)| one_service(name, service)).collect()
}

fn address(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn one_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let prefix = variable(name);
    let ip = address(service).unwrap_or_default();
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let mut env = vec![(format!("{prefix}_SERVICE_HOST"), ip.to_owned())];
    let Some(first) = ports.first() else {
        return env;
    };
    env.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            env.push((format!("{prefix}_SERVICE_PORT_{}", variable(name)), port.port.to_string()));
        }
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        if index == 0 {
            env.push((format!("{prefix}_PORT"), url.clone()));
        }
        env.push((link.clone(), url));
        env.push((format!("{link}_PROTO"), protocol.to_lowercase()));
        env.push((format!("{link}_PORT"), port.port.to_string()));
        env.push((format!("{link}_ADDR"), ip.to_owned()));
    }
    env
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Replaces `$(NAME)` where `NAME` is known; `$$(NAME)` stands for a literal `$(NAME)`.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, tail)) =
            after.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

    /// `namespace/name ip port[/protocol][=name] …`
    fn service(text: &str) -> Service {
        let mut words = text.split_whitespace();
        let (namespace, name) = words.next().unwrap().split_once('/').unwrap();
        let mut service = Service::default();
        (service.metadata.namespace, service.metadata.name) =
            (Some(namespace.into()), Some(name.into()));
        let ip = words.next().map(str::to_owned);
        let ports = words.map(|word| {
            let (port, name) = word
                .split_once('=')
                .map_or((word, None), |(port, name)| (port, Some(name.to_owned())));
            let (port, protocol) = port
                .split_once('/')
                .map_or((port, None), |(port, protocol)| (port, Some(protocol.to_owned())));
            ServicePort { port: port.parse().unwrap(), protocol, name, ..Default::default() }
        });
        service.spec = Some(ServiceSpec {
            cluster_ip: ip,
            ports: Some(ports.collect()),
            ..Default::default()
        });
        service
    }

    fn check(services: &[&str], links: bool, want: &str) {
        let services: Vec<Service> = services.iter().map(|text| service(text)).collect();
        let got: Vec<String> = service_env(&services, "shop", links)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(got, want.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn the_documented_set() {
        check(
            &["shop/redis-master 10.0.0.11 6379/TCP"],
            true,
            "REDIS_MASTER_SERVICE_HOST=10.0.0.11 REDIS_MASTER_SERVICE_PORT=6379 REDIS_MASTER_PORT=tcp://10.0.0.11:6379
             REDIS_MASTER_PORT_6379_TCP=tcp://10.0.0.11:6379 REDIS_MASTER_PORT_6379_TCP_PROTO=tcp
             REDIS_MASTER_PORT_6379_TCP_PORT=6379 REDIS_MASTER_PORT_6379_TCP_ADDR=10.0.0.11",
        );
    }

    #[test]
    fn named_ports_protocols_and_the_first_port() {
        check(
            &["shop/dns fd00::1 53/UDP=dns 9153/TCP=m-x"],
            true,
            "DNS_SERVICE_HOST=fd00::1 DNS_SERVICE_PORT=53 DNS_SERVICE_PORT_DNS=53 DNS_SERVICE_PORT_M_X=9153
             DNS_PORT=udp://[fd00::1]:53
             DNS_PORT_53_UDP=udp://[fd00::1]:53 DNS_PORT_53_UDP_PROTO=udp DNS_PORT_53_UDP_PORT=53 DNS_PORT_53_UDP_ADDR=fd00::1
             DNS_PORT_9153_TCP=tcp://[fd00::1]:9153 DNS_PORT_9153_TCP_PROTO=tcp DNS_PORT_9153_TCP_PORT=9153
             DNS_PORT_9153_TCP_ADDR=fd00::1",
        );
    }

    #[test]
    fn only_what_the_pod_can_see() {
        let hosts = |services: &[&str], links| {
            let services: Vec<Service> = services.iter().map(|text| service(text)).collect();
            let env = service_env(&services, "shop", links).into_iter();
            env.filter(|(name, _)| name.ends_with("_HOST"))
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let all = [
            "default/kubernetes 10.96.0.1 443=https",
            "default/web 10.96.0.9 80",
            "shop/a None 80",
            "shop/b 10.96.0.3 80",
            "shop/c",
        ];
        assert_eq!(hosts(&all, true), "B_SERVICE_HOST=10.96.0.3 KUBERNETES_SERVICE_HOST=10.96.0.1");
        assert_eq!(hosts(&all, false), "KUBERNETES_SERVICE_HOST=10.96.0.1");
        let own = ["shop/kubernetes 10.96.0.8 1", "default/kubernetes 10.96.0.1 443"];
        assert_eq!(hosts(&own, true), "KUBERNETES_SERVICE_HOST=10.96.0.8");
    }

    #[test]
    fn references_expand_once() {
        let known =
            BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, want) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(A)"),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("ä$(A)", "ä1"),
        ] {
            assert_eq!(expand(text, &known), want, "{text}");
        }
    }
}
