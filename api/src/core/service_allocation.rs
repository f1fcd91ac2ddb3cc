//! What a Service wants allocated: which addresses and ports to take, and the fields that
//! follow from it.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use crate::{
    allocate::{Claim, Pool, Refusal},
    core::service_types::has_health_port,
    field::{FieldError, FieldErrorType},
};

/// Everything that a stored Service holds.
pub fn claims(service: &Service) -> Vec<Claim> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let mut claims = BTreeSet::new();
    if needs_cluster_ip(spec) {
        let ips = spec.cluster_ips.iter().flatten();
        claims.extend(ips.filter_map(|ip| ip.parse().ok()).map(Claim::Ip));
    }
    let ports = spec.ports.iter().flatten().filter_map(|port| port.node_port);
    let ports = ports.chain(spec.health_check_node_port);
    claims.extend(ports.filter(|port| *port != 0).map(Claim::Port));
    claims.into_iter().collect()
}

/// Fills a new or changed Service's addresses and ports, and takes them. `old` is the stored
/// version of an update, from which `new` has taken over what it keeps.
pub fn allocate(
    new: &mut Service,
    old: Option<&Service>,
    pool: &mut dyn Pool,
) -> Result<(), Refusal> {
    let held: BTreeSet<Claim> = old.map(claims).unwrap_or_default().into_iter().collect();
    let spec = new.spec.get_or_insert_default();
    fill_families(pool, spec).map_err(|error| Refusal::Invalid(vec![error]))?;
    take_ips(pool, spec, &held)?;
    take_ports(pool, spec, &held)
}

fn service_type(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    service_type(spec) != "ExternalName" && !is_headless(spec)
}

fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match service_type(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// `ipFamilies` and `ipFamilyPolicy`, from the cluster's families and the user's wishes.
fn fill_families(pool: &dyn Pool, spec: &mut ServiceSpec) -> Result<(), FieldError> {
    if service_type(spec) == "ExternalName" {
        return Ok(());
    }
    if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty)
        && let Some(ip) = spec.cluster_ip.clone().filter(|ip| !ip.is_empty())
    {
        spec.cluster_ips = Some(vec![ip]);
    }
    let configured = pool.families();
    let selectorless = spec.selector.as_ref().is_none_or(|s| s.is_empty());
    let anything_goes = is_headless(spec) && selectorless;
    let mut families = spec.ip_families.clone().unwrap_or_default();
    let named = !families.is_empty();
    if !named {
        let ips = spec.cluster_ips.iter().flatten();
        families = ips
            .filter_map(|ip| ip.parse::<IpAddr>().ok())
            .map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned())
            .collect();
        if families.is_empty() {
            families.push(configured.first().copied().unwrap_or("IPv4").to_owned());
        }
    }
    if !anything_goes {
        check_configured(spec, &families, &configured, named)?;
    }
    let policy = spec.ip_family_policy.clone();
    let dual = match policy.as_deref() {
        Some("RequireDualStack") => true,
        Some("PreferDualStack") => configured.len() > 1 || anything_goes,
        Some(_) => false,
        None => families.len() > 1 || anything_goes,
    };
    if dual && configured.len() < 2 && !anything_goes {
        return Err(invalid(
            "spec.ipFamilyPolicy".to_owned(),
            "\"RequireDualStack\"",
            "this cluster is not configured for dual-stack services",
        ));
    }
    if dual && families.len() < 2 {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    spec.ip_families = Some(families);
    let default_policy = if dual { "RequireDualStack" } else { "SingleStack" };
    spec.ip_family_policy = Some(policy.unwrap_or_else(|| default_policy.to_owned()));
    Ok(())
}

/// Whether the cluster has the families. Those that were not `named` follow from the addresses.
fn check_configured(
    spec: &ServiceSpec,
    families: &[String],
    configured: &[&str],
    named: bool,
) -> Result<(), FieldError> {
    let missing = |family: &String| !configured.contains(&family.as_str());
    let Some(at) = families.iter().position(missing) else {
        return Ok(());
    };
    let chosen = spec.cluster_ips.as_ref().and_then(|ips| ips.get(at));
    let (field, value) = match (named, chosen) {
        (false, Some(ip)) => ("clusterIPs", ip),
        _ => ("ipFamilies", &families[at]),
    };
    Err(invalid(
        format!("spec.{field}[{at}]"),
        &format!("\"{value}\""),
        &format!("{} is not configured on this cluster", families[at]),
    ))
}

fn take_ips(
    pool: &mut dyn Pool,
    spec: &mut ServiceSpec,
    held: &BTreeSet<Claim>,
) -> Result<(), Refusal> {
    if !needs_cluster_ip(spec) {
        return Ok(());
    }
    let families = spec.ip_families.clone().unwrap_or_default();
    let mut ips = spec.cluster_ips.clone().unwrap_or_default();
    if spec.cluster_ip.as_deref().unwrap_or_default() != ips.first().map_or("", String::as_str) {
        // Two views of one list that do not agree: validation tells.
        return Ok(());
    }
    let wanted = ips.clone();
    for (at, family) in families.iter().enumerate() {
        let chosen = ips.get(at).filter(|ip| !ip.is_empty()).cloned();
        let Some(chosen) = chosen else {
            let next = pool.take_any_ip(family);
            let ip = next.ok_or(Refusal::Full("failed to allocate a serviceIP: range is full"))?;
            ips.truncate(at);
            ips.push(ip.to_string());
            continue;
        };
        let shown = serde_json::to_string(&wanted).unwrap_or_default();
        let refuse = |why: String| invalid("spec.clusterIPs".to_owned(), &shown, &why);
        let Ok(ip) = chosen.parse::<IpAddr>() else {
            let why = format!("failed to allocate IP {chosen}: must be a valid IP address");
            return Err(Refusal::Invalid(vec![refuse(why)]));
        };
        let claim = Claim::Ip(ip);
        if held.contains(&claim) {
            continue;
        }
        if !pool.contains(family, ip) {
            let net = pool.range_of(family).map(|net| net.to_string()).unwrap_or_default();
            let why = format!(
                "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}"
            );
            return Err(Refusal::Invalid(vec![refuse(why)]));
        }
        let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
        pool.take(claim, refuse(why));
    }
    spec.cluster_ip = ips.first().cloned();
    spec.cluster_ips = Some(ips);
    Ok(())
}

fn take_ports(
    pool: &mut dyn Pool,
    spec: &mut ServiceSpec,
    held: &BTreeSet<Claim>,
) -> Result<(), Refusal> {
    let mut mine: BTreeSet<i32> = BTreeSet::new();
    if needs_node_ports(spec) {
        let ports = spec.ports.as_deref_mut().unwrap_or_default();
        // Users' choices first, so that none of them is handed to a sibling.
        for (at, port) in ports.iter().enumerate() {
            if let Some(number) = port.node_port.filter(|number| *number != 0) {
                let field = format!("spec.ports[{at}].nodePort");
                take_port(pool, field, number, held, &mut mine)?;
            }
        }
        for at in 0..ports.len() {
            if ports[at].node_port.unwrap_or(0) != 0 {
                continue;
            }
            // A TCP and a UDP port of one number share the node port, as DNS wants it.
            let sibling = ports.iter().find(|other| {
                other.port == ports[at].port
                    && protocol(other) != protocol(&ports[at])
                    && other.node_port.unwrap_or(0) != 0
            });
            let number = match sibling.and_then(|sibling| sibling.node_port) {
                Some(number) => number,
                None => take_any_port(pool)?,
            };
            mine.insert(number);
            ports[at].node_port = Some(number);
        }
    }
    if has_health_port(spec) {
        match spec.health_check_node_port.filter(|number| *number != 0) {
            Some(number) => {
                let field = "spec.healthCheckNodePort".to_owned();
                take_port(pool, field, number, held, &mut mine)?;
            }
            None => spec.health_check_node_port = Some(take_any_port(pool)?),
        }
    }
    Ok(())
}

fn take_any_port(pool: &mut dyn Pool) -> Result<i32, Refusal> {
    pool.take_any_port().ok_or(Refusal::Full("failed to allocate a nodePort: range is full"))
}

fn take_port(
    pool: &mut dyn Pool,
    field: String,
    number: i32,
    held: &BTreeSet<Claim>,
    mine: &mut BTreeSet<i32>,
) -> Result<(), Refusal> {
    let claim = Claim::Port(number);
    if held.contains(&claim) || !mine.insert(number) {
        return Ok(());
    }
    let range = pool.ports();
    if !u16::try_from(number).is_ok_and(|port| range.contains(&port)) {
        let why = format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.start(),
            range.end()
        );
        return Err(Refusal::Invalid(vec![invalid(field, &number.to_string(), &why)]));
    }
    let error = invalid(field, &number.to_string(), "provided port is already allocated");
    pool.take(claim, error);
    Ok(())
}

fn invalid(field: String, value: &str, why: &str) -> FieldError {
    FieldError {
        kind: FieldErrorType::Invalid,
        field,
        message: format!("Invalid value: {value}: {why}"),
    }
}
