//! The fields of a `KubeProxyConfiguration`, what each may be, and its default.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::field::{Fields, Report};
use super::{Config, DetectLocal, NodePortAddresses};
use crate::mode::{Entry, Section};
use crate::modes;
use crate::routes::Family;
use crate::settings::IpvsSettings;

/// The bit of the mark that upstream uses, too.
const MASQUERADE_BIT: u8 = 14;
/// Ports of upstream's proxy.
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;
/// Where nothing is configured. Changes are brought into the kernel when they come; what
/// others have changed there is found by a look at this interval.
const SYNC_PERIOD: Duration = Duration::from_secs(60);
/// The kernel's schedulers that upstream lets one choose from.
const SCHEDULERS: [&str; 11] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh"];

/// Where the fields come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, where an empty address means the default.
    File,
    /// Flags, where an empty address means that nothing is served.
    Flags,
}

/// What the sections of the modes have in common.
struct Rules {
    masquerade_bit: Option<u8>,
    masquerade_all: bool,
    sync_period: Option<Duration>,
    min_sync_period: Option<Duration>,
}

/// The configuration; with errors in the report it must not be used.
pub fn read(of: &'static [Entry], fields: Map<String, Value>, source: Source) -> (Config, Report) {
    let report = RefCell::new(Report::default());
    let mut root = Fields::root(fields, &report);
    let names: Vec<&str> = of.iter().map(|mode| mode.name).collect();
    let expected = format!("{} or empty", names.join(", "));
    let mode = root.parsed("mode", &expected, |name| modes::find(of, name));
    let mode = mode.unwrap_or(&of[0]);
    let (iptables, localhost_node_ports) = read_iptables(root.section("iptables"));
    let nftables = read_rules(root.section("nftables"));
    let (ipvs_rules, ipvs) = read_ipvs(root.section("ipvs"));
    let of_section = |section| match section {
        Section::Nftables => &nftables,
        Section::Iptables => &iptables,
        Section::Ipvs => &ipvs_rules,
    };
    let (masquerade, periods) = (of_section(mode.masquerade), of_section(mode.periods));
    let bind_address = root.parsed("bindAddress", "an IP address", |text| text.parse().ok());
    let (any, loopback) = match bind_address {
        Some(IpAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        _ => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
    };
    let config = Config {
        kubeconfig: read_client(root.section("clientConnection")).map(Into::into),
        node_name: root.text("hostnameOverride").map(|name| name.trim().to_lowercase()),
        node_address: bind_address.filter(|address: &IpAddr| !address.is_unspecified()),
        mode,
        detect_local: read_detect_local(&mut root),
        node_port_addresses: read_node_port_addresses(&mut root),
        masquerade_all: masquerade.masquerade_all,
        masquerade_bit: masquerade.masquerade_bit.unwrap_or(MASQUERADE_BIT),
        localhost_node_ports,
        ipvs,
        sync_period: periods.sync_period.unwrap_or(SYNC_PERIOD),
        min_sync_period: periods.min_sync_period.unwrap_or_default(),
        healthz_bind_address: read_address(
            &mut root,
            "healthzBindAddress",
            SocketAddr::new(any, HEALTHZ_PORT),
            source,
        ),
        metrics_bind_address: read_address(
            &mut root,
            "metricsBindAddress",
            SocketAddr::new(loopback, METRICS_PORT),
            source,
        ),
        bind_address_hard_fail: root.boolean("bindAddressHardFail").unwrap_or(false),
        oom_score_adj: root
            .integer("oomScoreAdj", -1000, 1000)
            .and_then(|score| i16::try_from(score).ok()),
    };
    if config.node_name.as_deref() == Some("") {
        root.error("hostnameOverride", "must not be blank");
    }
    read_rest(root);
    (config, report.into_inner())
}

fn read_client(mut section: Fields<'_>) -> Option<String> {
    let kubeconfig = section.text("kubeconfig");
    section.without_effect(&["acceptContentTypes", "contentType", "qps", "burst"]);
    section.finish();
    kubeconfig
}

/// `bit`, `all` and the periods, without `finish`.
fn read_shared(section: &mut Fields<'_>) -> Rules {
    let rules = Rules {
        masquerade_bit: section
            .integer("masqueradeBit", 0, 31)
            .and_then(|bit| u8::try_from(bit).ok()),
        masquerade_all: section.boolean("masqueradeAll").unwrap_or(false),
        sync_period: section.duration("syncPeriod"),
        min_sync_period: section.duration("minSyncPeriod"),
    };
    if let (Some(every), Some(least)) = (rules.sync_period, rules.min_sync_period)
        && every < least
    {
        section.error("syncPeriod", "must not be shorter than minSyncPeriod");
    }
    rules
}

fn read_rules(mut section: Fields<'_>) -> Rules {
    let rules = read_shared(&mut section);
    section.finish();
    rules
}

fn read_iptables(mut section: Fields<'_>) -> (Rules, bool) {
    let rules = read_shared(&mut section);
    let localhost_node_ports = section.boolean("localhostNodePorts").unwrap_or(true);
    section.without_effect(&["snatNodeInternalIP"]);
    section.finish();
    (rules, localhost_node_ports)
}

fn read_ipvs(mut section: Fields<'_>) -> (Rules, IpvsSettings) {
    let defaults = IpvsSettings::default();
    let rules = Rules {
        masquerade_bit: None,
        masquerade_all: false,
        sync_period: section.duration("syncPeriod"),
        min_sync_period: section.duration("minSyncPeriod"),
    };
    let expected = format!("one of {}", SCHEDULERS.join(", "));
    let scheduler = section
        .parsed("scheduler", &expected, |text| SCHEDULERS.contains(&text).then(|| text.to_owned()));
    let texts = section.texts("excludeCIDRs");
    let settings = IpvsSettings {
        scheduler: scheduler.unwrap_or(defaults.scheduler),
        exclude_cidrs: networks(&section, "excludeCIDRs", texts.iter().map(String::as_str)),
        strict_arp: section.boolean("strictARP").unwrap_or(false),
        tcp_timeout: section.duration("tcpTimeout").unwrap_or_default(),
        tcp_fin_timeout: section.duration("tcpFinTimeout").unwrap_or_default(),
        udp_timeout: section.duration("udpTimeout").unwrap_or_default(),
    };
    section.finish();
    (rules, settings)
}

fn networks<'t>(
    section: &Fields<'_>,
    name: &str,
    texts: impl Iterator<Item = &'t str>,
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in texts {
        match text.trim().parse::<IpNet>() {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => section
                .error(name, format_args!("must have networks such as 10.0.0.0/8, has {text:?}")),
        }
    }
    networks
}

fn read_detect_local(root: &mut Fields<'_>) -> DetectLocal {
    let text = root.text("clusterCIDR").unwrap_or_default();
    let given = text.split(',').filter(|part| !part.trim().is_empty());
    let cluster_cidrs = networks(root, "clusterCIDR", given);
    let of = |family| {
        let addresses = cluster_cidrs.iter().map(IpNet::addr);
        addresses.filter(|a| Family::of(a) == family).count()
    };
    if of(Family::V4) > 1 || of(Family::V6) > 1 {
        root.error("clusterCIDR", "must have at most one network of each family");
    }
    let mut section = root.section("detectLocal");
    let bridge = section.text("bridgeInterface");
    let prefix = section.text("interfaceNamePrefix");
    let mode = root.text("detectLocalMode");
    let needed = |name: &str, value: Option<String>| {
        if value.is_none() {
            section.error(name, format_args!("must be given, for detectLocalMode asks for it"));
        }
        value.unwrap_or_default()
    };
    let detect_local = match mode.as_deref() {
        None | Some("ClusterCIDR") => {
            if cluster_cidrs.is_empty() {
                root.warn("clusterCIDR", "not given: pods cannot be told from other clients");
            }
            DetectLocal::ClusterCidr(cluster_cidrs)
        }
        Some("NodeCIDR") => DetectLocal::NodeCidr,
        Some("BridgeInterface") => DetectLocal::BridgeInterface(needed("bridgeInterface", bridge)),
        Some("InterfaceNamePrefix") => {
            DetectLocal::InterfaceNamePrefix(needed("interfaceNamePrefix", prefix))
        }
        Some(other) => {
            root.error(
                "detectLocalMode",
                format_args!(
                    "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix, is {other:?}"
                ),
            );
            DetectLocal::NodeCidr
        }
    };
    section.finish();
    detect_local
}

/// Keywords and networks, as upstream has them since `all` and `localhost` came.
fn read_node_port_addresses(root: &mut Fields<'_>) -> NodePortAddresses {
    const NAME: &str = "nodePortAddresses";
    let texts = root.texts(NAME);
    let mut addresses = NodePortAddresses::default();
    let mut is_all = false;
    for text in &texts {
        match text.as_str() {
            "primary" => addresses.primary = true,
            "all" => is_all = true,
            "localhost" => addresses.networks.extend(networks(
                root,
                NAME,
                ["127.0.0.0/8", "::1/128"].into_iter(),
            )),
            text => addresses.networks.extend(networks(root, NAME, [text].into_iter())),
        }
    }
    if is_all {
        return NodePortAddresses::default();
    }
    addresses
}

/// `ADDRESS:PORT`, or an address alone with the default's port.
fn read_address(
    root: &mut Fields<'_>,
    name: &str,
    default: SocketAddr,
    source: Source,
) -> Option<SocketAddr> {
    let is_given = root.has(name);
    let text = root.text(name);
    let Some(text) = text else {
        return (source == Source::File || !is_given).then_some(default);
    };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let parsed = text.parse().ok().or_else(|| {
        let address: IpAddr = bare.parse().ok()?;
        Some(SocketAddr::new(address, default.port()))
    });
    if parsed.is_none() {
        root.error(name, format_args!("must be ADDRESS:PORT, is {text:?}"));
    }
    parsed
}

/// Fields without effect here, and those that nobody knows.
fn read_rest(mut root: Fields<'_>) {
    let mut conntrack = root.section("conntrack");
    conntrack.without_effect(&[
        "maxPerCore",
        "min",
        "tcpEstablishedTimeout",
        "tcpCloseWaitTimeout",
        "tcpBeLiberal",
        "udpTimeout",
        "udpStreamTimeout",
    ]);
    conntrack.finish();
    root.without_effect(&[
        "featureGates",
        "logging",
        "enableProfiling",
        "showHiddenMetricsForVersion",
        "winkernel",
        "configSyncPeriod",
        "portRange",
        "windowsRunAsService",
    ]);
    root.finish();
}
