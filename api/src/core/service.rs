//! Service: one name and address in front of pods that a selector finds.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ClientIPConfig, Service, ServicePort, ServiceSpec, ServiceStatus, SessionAffinityConfig,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use crate::{
    allocate::{Claim, Pool, Refusal},
    core::{
        service_allocation, service_types::is_externally_accessible, service_update,
        service_validation,
    },
    defaults,
    field::FieldError,
    kind::{Column, NameRule, Names, Rules},
    subresource::Subresource,
    table::{self, column, wide},
};

/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is not set: three hours.
pub const DEFAULT_AFFINITY_TIMEOUT_SECONDS: i32 = 10_800;

/// Rules of `services`.
pub struct ServiceRules;

impl Rules for ServiceRules {
    type Object = Service;

    fn names() -> Names {
        Names::namespaced("", "v1", "Service", "services")
            .short(&["svc"])
            .categories(&["all"])
            .stored_at("services/specs")
    }

    fn subresources() -> Vec<Subresource> {
        vec![Subresource::status()]
    }

    const NAME_RULE: NameRule = NameRule::Rfc1035Label;

    fn default(service: &mut Service) {
        let spec = service.spec.get_or_insert_default();
        defaults::text(&mut spec.type_, "ClusterIP");
        defaults::drop_empty(&mut spec.cluster_ip);
        defaults::drop_zero(&mut spec.health_check_node_port);
        default_affinity(spec);
        for port in spec.ports.iter_mut().flatten() {
            default_port(port);
        }
        let type_ = spec.type_.as_deref().unwrap_or_default();
        let balanced = type_ == "LoadBalancer";
        let has_address = matches!(type_, "ClusterIP" | "NodePort" | "LoadBalancer");
        if is_externally_accessible(spec) {
            defaults::text(&mut spec.external_traffic_policy, "Cluster");
        }
        if has_address {
            defaults::text(&mut spec.internal_traffic_policy, "Cluster");
        }
        if balanced {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
            default_address_modes(service.status.as_mut());
        }
    }

    fn prepare_create(service: &mut Service) {
        service.status =
            Some(ServiceStatus { load_balancer: Some(Default::default()), ..Default::default() });
        service_update::normalize_cluster_ips(service.spec.get_or_insert_default(), None);
    }

    fn prepare_update(service: &mut Service, old: &Service) {
        service.status.clone_from(&old.status);
        let new = service.spec.get_or_insert_default();
        let before = old.spec.clone().unwrap_or_default();
        service_update::keep_allocated(new, &before);
        service_update::normalize_cluster_ips(new, Some(&before));
        service_update::drop_unused(new, &before);
        if new.type_.as_deref() != Some("LoadBalancer")
            && let Some(status) = &mut service.status
        {
            status.load_balancer = Some(Default::default());
        }
    }

    fn validate(service: &Service) -> Vec<FieldError> {
        service_validation::validate(service)
    }

    fn validate_update(new: &Service, old: &Service) -> Vec<FieldError> {
        service_validation::validate_update(new, old)
    }

    fn prepare_status_update(new: &mut Service, old: &Service) {
        new.spec.clone_from(&old.spec);
    }

    const ALLOCATES: bool = true;

    fn claims(service: &Service) -> Vec<Claim> {
        service_allocation::claims(service)
    }

    fn allocate(
        new: &mut Service,
        old: Option<&Service>,
        pool: &mut dyn Pool,
    ) -> Result<(), Refusal> {
        service_allocation::allocate(new, old, pool)
    }

    const RETURNED_WHEN_DELETED: bool = true;

    const FIELDS: &'static [&'static str] = &["spec.clusterIP", "spec.type"];

    fn fields(service: &Service) -> Vec<(&'static str, String)> {
        let spec = service.spec.as_ref();
        let cluster_ip = spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
        let type_ = spec.and_then(|spec| spec.type_.clone()).unwrap_or_default();
        vec![("spec.clusterIP", cluster_ip), ("spec.type", type_)]
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Type", "string", "ClusterIP, NodePort, LoadBalancer or ExternalName."),
        column("Cluster-IP", "string", "The virtual address within the cluster, or None."),
        column("External-IP", "string", "Addresses from outside."),
        column("Port(s)", "string", "Ports, node ports after a colon, and protocols."),
        table::AGE,
        wide("Selector", "string", "Labels of the pods behind it."),
    ];

    fn row(service: &Service, now: Timestamp) -> Vec<Value> {
        let default = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&default);
        let cluster_ip = spec.cluster_ips.as_ref().and_then(|ips| ips.first());
        vec![
            table::name(service),
            Value::from(spec.type_.clone().unwrap_or_default()),
            Value::from(cluster_ip.map_or("<none>", String::as_str)),
            Value::from(external_ip(service, spec)),
            Value::from(ports_text(spec.ports.as_deref().unwrap_or_default())),
            table::age(service, now),
            Value::from(table::labels(spec.selector.as_ref())),
        ]
    }

    const NUMBERS: &'static str = "
        ClientIPConfig timeoutSeconds=1*
        LoadBalancerIngress ip=1 hostname=2 ipMode=3* ports=4
        LoadBalancerStatus ingress=1
        PortStatus port=1* protocol=2* error=3*
        Service metadata=1 spec=2 status=3
        ServicePort name=1 protocol=2 port=3* targetPort=4 nodePort=5 appProtocol=6*
        ServiceSpec ports=1 selector=2 clusterIP=3 type=4 externalIPs=5 sessionAffinity=7
          loadBalancerIP=8 loadBalancerSourceRanges=9 externalName=10 externalTrafficPolicy=11
          healthCheckNodePort=12 publishNotReadyAddresses=13 sessionAffinityConfig=14
          ipFamilyPolicy=17* clusterIPs=18 ipFamilies=19 allocateLoadBalancerNodePorts=20*
          loadBalancerClass=21* internalTrafficPolicy=22* trafficDistribution=23*
        ServiceStatus loadBalancer=1 conditions=2
        SessionAffinityConfig clientIP=1
    ";

    const FACTS: &'static str = "
        LoadBalancerIngress.ports list=atomic
        LoadBalancerStatus.ingress list=atomic
        ServiceSpec.clusterIPs list=atomic
        ServiceSpec.externalIPs list=atomic
        ServiceSpec.ipFamilies list=atomic
        ServiceSpec.loadBalancerSourceRanges list=atomic
        ServiceSpec.ports list=map:port,protocol patch=merge merge-key=port
        ServiceSpec.selector map=atomic
        ServiceStatus.conditions list=map:type patch=merge merge-key=type
    ";
}

fn default_affinity(spec: &mut ServiceSpec) {
    defaults::text(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let config: &mut SessionAffinityConfig =
                spec.session_affinity_config.get_or_insert_default();
            let client_ip: &mut ClientIPConfig = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(DEFAULT_AFFINITY_TIMEOUT_SECONDS);
        }
        _ => {}
    }
}

/// An address that a load balancer gives without a word of how it delivers keeps its packets'
/// destination.
fn default_address_modes(status: Option<&mut ServiceStatus>) {
    let balancer = status.and_then(|status| status.load_balancer.as_mut());
    let points = balancer.and_then(|balancer| balancer.ingress.as_mut());
    for point in points.into_iter().flatten() {
        if point.ip.as_deref().is_some_and(|ip| !ip.is_empty()) {
            defaults::text(&mut point.ip_mode, "VIP");
        }
    }
}

fn default_port(port: &mut ServicePort) {
    defaults::drop_zero(&mut port.node_port);
    defaults::drop_empty(&mut port.name);
    defaults::text(&mut port.protocol, "TCP");
    let unset = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

fn external_ip(service: &Service, spec: &ServiceSpec) -> String {
    let external_ips = spec.external_ips.clone().unwrap_or_default();
    match spec.type_.as_deref() {
        Some("ClusterIP" | "NodePort") => {
            table::or(Some(&external_ips.join(",")), "<none>").to_owned()
        }
        Some("LoadBalancer") => {
            let mut addresses = balancer_addresses(service);
            addresses.extend(external_ips);
            table::or(Some(&addresses.join(",")), "<pending>").to_owned()
        }
        Some("ExternalName") => spec.external_name.clone().unwrap_or_default(),
        _ => "<unknown>".to_owned(),
    }
}

/// Address or host name of each ingress point.
fn balancer_addresses(service: &Service) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let mut addresses: Vec<String> = ingress
        .iter()
        .filter_map(|point| {
            point.ip.clone().filter(|ip| !ip.is_empty()).or_else(|| point.hostname.clone())
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn ports_text(ports: &[ServicePort]) -> String {
    let texts: Vec<_> = ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            match port.node_port {
                Some(node_port) if node_port > 0 => format!("{}:{node_port}/{protocol}", port.port),
                _ => format!("{}/{protocol}", port.port),
            }
        })
        .collect();
    table::or(Some(&texts.join(",")), "<none>").to_owned()
}
