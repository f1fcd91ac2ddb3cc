//! Configuration as text in, and what comes of it out.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use proxy_agent::config::{self, Config, DetectLocal, Flags, NodePortAddresses};
use proxy_agent::mode::{iptables, ipvs, nftables, userspace};
use proxy_agent::modes::MODES;
use proxy_agent::node::{self, Place};
use proxy_agent::routes::Family;
use proxy_agent::settings::{IpvsSettings, LocalTraffic};

const HEAD: &str = "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n";

/// What kubeadm puts into the ConfigMap `kube-proxy`, field for field, with values of
/// a cluster of ours.
const KUBEADM: &str = include_str!("kubeadm.yaml");

fn defaults() -> Config {
    Config {
        kubeconfig: None,
        node_name: None,
        node_address: None,
        mode: &nftables::MODE,
        detect_local: DetectLocal::ClusterCidr(Vec::new()),
        node_port_addresses: NodePortAddresses::default(),
        masquerade_all: false,
        masquerade_bit: 14,
        localhost_node_ports: true,
        ipvs: IpvsSettings::default(),
        sync_period: Duration::from_secs(60),
        min_sync_period: Duration::ZERO,
        healthz_bind_address: Some(address("0.0.0.0:10256")),
        metrics_bind_address: Some(address("127.0.0.1:10249")),
        bind_address_hard_fail: false,
        oom_score_adj: None,
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// `fields` are a file's, below its head; the change is what they do to the defaults.
fn check(fields: &str, change: impl FnOnce(&mut Config)) {
    let text = format!("{HEAD}clusterCIDR: 10.244.0.0/16\n{fields}");
    let (config, warnings) =
        config::parse(MODES, &text).unwrap_or_else(|e| panic!("{fields}\n{e:#}"));
    assert_eq!(warnings, Vec::<String>::new(), "{fields}");
    let mut expected = defaults();
    expected.detect_local =
        DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().expect("a network")]);
    change(&mut expected);
    assert_eq!(config, expected, "{fields}");
}

fn check_error(fields: &str, expected: &str) {
    match config::parse(MODES, &format!("{HEAD}{fields}")) {
        Ok(_) => panic!("accepted: {fields}"),
        Err(error) => assert_eq!(format!("{error:#}"), expected, "{fields}"),
    }
}

fn check_warnings(fields: &str, expected: &[&str]) {
    let text = format!("{HEAD}clusterCIDR: 10.244.0.0/16\n{fields}");
    let (_, warnings) = config::parse(MODES, &text).unwrap_or_else(|e| panic!("{fields}\n{e:#}"));
    assert_eq!(warnings, expected, "{fields}");
}

#[test]
fn a_config_map_of_kubeadm_is_taken_as_it_is() {
    let (config, warnings) = config::parse(MODES, KUBEADM).expect("a configuration");
    assert_eq!(warnings, Vec::<String>::new());
    let expected = Config {
        kubeconfig: Some("/var/lib/kube-proxy/kubeconfig.conf".into()),
        detect_local: DetectLocal::ClusterCidr(vec![
            "10.77.0.0/16".parse().expect("a network"),
            "fd77::/48".parse().expect("a network"),
        ]),
        ..defaults()
    };
    assert_eq!(config, expected);
}

#[test]
fn fields_have_their_effect() {
    check("mode: ''", |_| {});
    check("mode: null", |_| {});
    check("mode: nftables", |_| {});
    check("mode: iptables", |c| c.mode = &iptables::MODE);
    check("mode: ipvs", |c| c.mode = &ipvs::MODE);
    check("mode: userspace", |c| c.mode = &userspace::MODE);
    check("hostnameOverride: ' Node-1 '", |c| c.node_name = Some("node-1".into()));
    check("clientConnection: {kubeconfig: /etc/kubeconfig}", |c| {
        c.kubeconfig = Some("/etc/kubeconfig".into());
    });
    check("bindAddress: 192.0.2.4", |c| {
        c.node_address = Some([192, 0, 2, 4].into());
    });
    check("bindAddress: '::'", |c| {
        c.healthz_bind_address = Some(address("[::]:10256"));
        c.metrics_bind_address = Some(address("[::1]:10249"));
    });
    check("healthzBindAddress: 127.0.0.1:99", |c| {
        c.healthz_bind_address = Some(address("127.0.0.1:99"));
    });
    check("metricsBindAddress: 0.0.0.0", |c| {
        c.metrics_bind_address = Some(address("0.0.0.0:10249"));
    });
    check("metricsBindAddress: '[::1]'", |c| {
        c.metrics_bind_address = Some(address("[::1]:10249"));
    });
    check("bindAddressHardFail: true", |c| c.bind_address_hard_fail = true);
    check("oomScoreAdj: -999", |c| c.oom_score_adj = Some(-999));
}

/// Each mode has a section, and upstream's ipvs is masqueraded by what iptables has.
#[test]
fn only_the_section_of_the_mode_counts() {
    check("nftables: {masqueradeAll: true, masqueradeBit: 3}", |c| {
        (c.masquerade_all, c.masquerade_bit) = (true, 3);
    });
    check("iptables: {masqueradeAll: true, masqueradeBit: 3}", |_| {});
    check("mode: iptables\niptables: {masqueradeAll: true, masqueradeBit: 0}", |c| {
        (c.mode, c.masquerade_all, c.masquerade_bit) = (&iptables::MODE, true, 0);
    });
    check("mode: ipvs\niptables: {masqueradeAll: true}\nipvs: {syncPeriod: 1m30s}", |c| {
        (c.mode, c.masquerade_all) = (&ipvs::MODE, true);
        c.sync_period = Duration::from_secs(90);
    });
    check("nftables: {syncPeriod: 30s, minSyncPeriod: 250ms}", |c| {
        c.sync_period = Duration::from_secs(30);
        c.min_sync_period = Duration::from_millis(250);
    });
    check("iptables: {localhostNodePorts: false}", |c| c.localhost_node_ports = false);
    check(
        "ipvs: {scheduler: sh, excludeCIDRs: [10.9.0.0/16], strictARP: true, tcpTimeout: 15m, tcpFinTimeout: 2m, udpTimeout: 5m}",
        |c| {
            c.ipvs = IpvsSettings {
                scheduler: "sh".into(),
                exclude_cidrs: vec!["10.9.0.0/16".parse().expect("a network")],
                strict_arp: true,
                tcp_timeout: Duration::from_secs(900),
                tcp_fin_timeout: Duration::from_secs(120),
                udp_timeout: Duration::from_secs(300),
            };
        },
    );
}

#[test]
fn pods_are_told_as_configured() {
    check("detectLocalMode: ClusterCIDR", |_| {});
    check("detectLocalMode: NodeCIDR", |c| c.detect_local = DetectLocal::NodeCidr);
    check("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}", |c| {
        c.detect_local = DetectLocal::BridgeInterface("cni0".into());
    });
    check("detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}", |c| {
        c.detect_local = DetectLocal::InterfaceNamePrefix("veth".into())
    });
    check_error(
        "detectLocalMode: BridgeInterface",
        "detectLocal.bridgeInterface: must be given, for detectLocalMode asks for it",
    );
    check_error(
        "clusterCIDR: 10.0.0.0/8,10.1.0.0/16",
        "clusterCIDR: must have at most one network of each family",
    );
}

#[test]
fn wrong_fields_are_named() {
    check_error(
        "mode: kernelspace",
        "mode: must be nftables, iptables, ipvs, userspace or empty, is \"kernelspace\"",
    );
    check_error("mode: 4", "mode: must be a text, is 4");
    check_error(
        "iptables: {masqueradeAll: 'yes'}",
        "iptables.masqueradeAll: must be true or false, is \"yes\"",
    );
    check_error(
        "nftables: {masqueradeBit: 32}",
        "nftables.masqueradeBit: must be a whole number from 0 to 31, is 32",
    );
    check_error(
        "ipvs: {syncPeriod: 30}",
        "ipvs.syncPeriod: must be a duration such as 30s or 1m30s, is 30",
    );
    check_error(
        "iptables: {syncPeriod: 1s, minSyncPeriod: 2s}",
        "iptables.syncPeriod: must not be shorter than minSyncPeriod",
    );
    check_error("conntrack: all", "conntrack: must be a mapping, is \"all\"");
    check_error(
        "nodePortAddresses: 10.0.0.0/8",
        "nodePortAddresses: must be a list of texts, is \"10.0.0.0/8\"",
    );
    check_error(
        "nodePortAddresses: [secondary]",
        "nodePortAddresses: must have networks such as 10.0.0.0/8, has \"secondary\"",
    );
    check_error(
        "metricsBindAddress: localhost:10249",
        "metricsBindAddress: must be ADDRESS:PORT, is \"localhost:10249\"",
    );
    check_error(
        "oomScoreAdj: 1001",
        "oomScoreAdj: must be a whole number from -1000 to 1000, is 1001",
    );
    check_error(
        "detectLocalMode: Guess",
        "detectLocalMode: must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix, is \"Guess\"",
    );
    // All of them at once.
    check_error(
        "bindAddress: here\nipvs: {scheduler: best}",
        "ipvs.scheduler: must be one of rr, wrr, lc, wlc, lblc, lblcr, sh, dh, sed, nq, mh, is \"best\"; \
         bindAddress: must be an IP address, is \"here\"",
    );
}

#[test]
fn another_kind_is_refused() {
    let check = |text: &str, expected: &str| {
        let error = config::parse(MODES, text).expect_err(text);
        assert_eq!(format!("{error:#}"), expected);
    };
    check("", "it is no KubeProxyConfiguration: it has no fields");
    check(
        "kind: KubeletConfiguration",
        "kind: must be KubeProxyConfiguration, is \"KubeletConfiguration\"",
    );
    check(
        "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1",
        "apiVersion: must be kubeproxy.config.k8s.io/v1alpha1, is \"kubeproxy.config.k8s.io/v1\"",
    );
}

/// As upstream's lenient decoder: a field that is not known warns, and no more.
#[test]
fn what_has_no_effect_is_said() {
    check_warnings("udpIdleTimeout: 250ms", &["udpIdleTimeout: unknown field, ignored"]);
    check_warnings(
        "iptables: {masqueradeALL: true}",
        &["iptables.masqueradeALL: unknown field, ignored"],
    );
    check_warnings(
        "conntrack: {maxPerCore: 1000, udpTimeout: 0s}",
        &["conntrack.maxPerCore: has no effect in this proxy"],
    );
    check_warnings("conntrack: {maxPerCore: 0, tcpBeLiberal: false}", &[]);
    check_warnings(
        "featureGates: {TopologyAwareHints: true}\nconfigSyncPeriod: 15m",
        &[
            "featureGates: has no effect in this proxy",
            "configSyncPeriod: has no effect in this proxy",
        ],
    );
}

#[test]
fn a_missing_cluster_cidr_is_said() {
    let (_, warnings) = config::parse(MODES, HEAD).expect("a configuration");
    assert_eq!(warnings, ["clusterCIDR: not given: pods cannot be told from other clients"]);
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let check = |text: &str, expected: Option<Duration>| {
        assert_eq!(config::parse_duration(text), expected, "{text}");
    };
    check("0", Some(Duration::ZERO));
    check("0s", Some(Duration::ZERO));
    check("24h0m0s", Some(Duration::from_secs(86_400)));
    check("1.5s", Some(Duration::from_millis(1500)));
    check("100ms", Some(Duration::from_millis(100)));
    check("5", None);
    check("-1s", None);
    check("", None);
    check("s", None);
    check("1 s", None);
    check("99999999999999999999h", None);
}

fn flags(arguments: &str) -> Flags {
    let command = Flags::augment_args(Command::new("proxy-agent").no_binary_name(true));
    let matches = command
        .try_get_matches_from(arguments.split_whitespace())
        .unwrap_or_else(|error| panic!("{arguments}: {error}"));
    Flags::from_arg_matches(&matches).expect("flags")
}

#[test]
fn flags_stand_for_fields() {
    let check = |arguments: &str, change: fn(&mut Config)| {
        let arguments = format!("--cluster-cidr=10.244.0.0/16 {arguments}");
        let (config, warnings) = Config::load(MODES, &flags(&arguments)).expect("a configuration");
        assert_eq!(warnings, Vec::<String>::new(), "{arguments}");
        let mut expected = defaults();
        expected.detect_local =
            DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().expect("a network")]);
        change(&mut expected);
        assert_eq!(config, expected, "{arguments}");
    };
    check("--proxy-mode ipvs --ipvs-scheduler=lc", |c| {
        c.mode = &ipvs::MODE;
        c.ipvs.scheduler = "lc".into();
    });
    check("--masquerade-all --iptables-masquerade-bit 5", |c| {
        (c.masquerade_all, c.masquerade_bit) = (true, 5);
    });
    check("--masquerade-all=false", |_| {});
    check("--oom-score-adj -7", |c| c.oom_score_adj = Some(-7));
    check("--nodeport-addresses 10.0.0.0/8,fd00::/8", |c| {
        c.node_port_addresses.networks =
            vec!["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
    });
    check("--nodeport-addresses primary", |c| c.node_port_addresses.primary = true);
    check("--metrics-bind-address= --healthz-bind-address=127.0.0.1:0", |c| {
        c.metrics_bind_address = None;
        c.healthz_bind_address = Some(address("127.0.0.1:0"));
    });
    check("--iptables-sync-period 5s", |c| c.sync_period = Duration::from_secs(5));
}

#[test]
fn a_wrong_flag_is_named() {
    let error =
        Config::load(MODES, &flags("--proxy-mode best --iptables-sync-period 5")).expect_err("no");
    assert_eq!(
        format!("{error:#}"),
        "the flags cannot be used: \
         --proxy-mode: must be nftables, iptables, ipvs, userspace or empty, is \"best\"; \
         --iptables-sync-period: must be a duration such as 30s or 1m30s, is \"5\""
    );
}

/// As upstream: beside a file, of the flags that stand for its fields only the name counts.
#[test]
fn a_file_overrules_flags_but_for_the_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.conf");
    std::fs::write(&path, KUBEADM).expect("written");
    let arguments = format!(
        "--config={} --hostname-override=Node-7 --proxy-mode=ipvs --kubeconfig=/else",
        path.display()
    );
    let (config, warnings) = Config::load(MODES, &flags(&arguments)).expect("a configuration");
    assert_eq!(config.node_name.as_deref(), Some("node-7"));
    assert_eq!(config.mode, &nftables::MODE);
    assert_eq!(
        warnings,
        [
            "--kubeconfig: does not count beside --config",
            "--proxy-mode: does not count beside --config",
        ]
    );
}

fn place() -> Place {
    let node = serde_json::json!({
        "metadata": {"name": "node-1"},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": "node-1"},
            {"type": "ExternalIP", "address": "203.0.113.7"},
            {"type": "InternalIP", "address": "192.168.77.11"},
            {"type": "InternalIP", "address": "192.168.88.11"},
        ]},
    });
    Place::of(&serde_json::from_value(node).expect("a Node"))
}

#[test]
fn a_node_says_its_networks_and_primary_addresses() {
    let expected = Place {
        pod_cidrs: vec![
            "10.244.1.0/24".parse().expect("a network"),
            "fd00:1::/64".parse().expect("a network"),
        ],
        addresses: vec![[192, 168, 77, 11].into()],
    };
    assert_eq!(place(), expected);
}

#[test]
fn settings_are_made_for_each_family() {
    let check = |fields: &str, v4: (LocalTraffic, &[&str]), v6: (LocalTraffic, &[&str])| {
        let (config, _) =
            config::parse(MODES, &format!("{HEAD}{fields}")).expect("a configuration");
        for (family, (local, networks)) in [(Family::V4, v4), (Family::V6, v6)] {
            let settings = node::settings(&config, &place(), family).expect("settings");
            let addresses: Vec<String> =
                settings.node_port_addresses.iter().map(ToString::to_string).collect();
            assert_eq!(settings.local_traffic, local, "{fields} {family:?}");
            assert_eq!(addresses, networks, "{fields} {family:?}");
        }
    };
    let network = |text: &str| LocalTraffic::Network(text.parse().expect("a network"));
    let unknown = LocalTraffic::Unknown;
    check("clusterCIDR: 10.244.0.0/16", (network("10.244.0.0/16"), &[]), (unknown.clone(), &[]));
    check(
        "detectLocalMode: NodeCIDR",
        (network("10.244.1.0/24"), &[]),
        (network("fd00:1::/64"), &[]),
    );
    // A family that no address is named of has no node ports, rather than all.
    check(
        "nodePortAddresses: [192.168.77.0/24]",
        (unknown.clone(), &["192.168.77.0/24"]),
        (unknown.clone(), &["::/128"]),
    );
    check(
        "nodePortAddresses: [primary, 'fd00::/8']",
        (unknown.clone(), &["192.168.77.11/32"]),
        (unknown.clone(), &["fd00::/8"]),
    );
    check(
        "nodePortAddresses: [primary]\nbindAddress: 192.168.88.11",
        (unknown.clone(), &["192.168.88.11/32"]),
        (unknown.clone(), &["::/128"]),
    );
    check(
        "nodePortAddresses: [localhost]",
        (unknown.clone(), &["127.0.0.0/8"]),
        (unknown.clone(), &["::1/128"]),
    );
    check("nodePortAddresses: [all, primary]", (unknown.clone(), &[]), (unknown, &[]));
}

#[test]
fn only_what_is_configured_is_waited_for() {
    let check = |fields: &str, missing: Option<&str>| {
        let (config, _) =
            config::parse(MODES, &format!("{HEAD}{fields}")).expect("a configuration");
        assert_eq!(Place::default().missing_for(&config), missing, "{fields}");
        assert_eq!(place().missing_for(&config), None, "{fields}");
    };
    check("", None);
    check("detectLocalMode: NodeCIDR", Some("spec.podCIDRs, for detectLocalMode is NodeCIDR"));
    check(
        "nodePortAddresses: [primary]",
        Some("status.addresses, for nodePortAddresses has `primary`"),
    );
    check("nodePortAddresses: [primary]\nbindAddress: 192.0.2.1", None);
}
