//! The flags: upstream's names, each for one field of the configuration or several.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use serde_json::{Map, Value};

use crate::modes;

/// How a flag's text becomes a field's value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Switch,
    Number,
    /// Comma-separated.
    List,
    /// Comma-separated `NAME=BOOL`.
    Gates,
}
use Kind::{Gates, List, Number, Switch, Text};

/// A flag, the fields that it stands for, and what it says in `--help`; without a
/// word there, it is one that only the file's readers know.
type Row = (&'static str, Kind, &'static [&'static str], &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("kubeconfig", Text, &["clientConnection.kubeconfig"], "How to reach the API server; without it, the pod's service account"),
    ("hostname-override", Text, &["hostnameOverride"], "This node's name in the API; the host's name by default"),
    ("proxy-mode", Text, &["mode"], "How Services are brought into the kernel: MODES"),
    ("cluster-cidr", Text, &["clusterCIDR"], "Where the cluster's pods are, at most one network of each family. Traffic to a cluster IP from elsewhere is masqueraded"),
    ("detect-local-mode", Text, &["detectLocalMode"], "How this node's pods are told from other clients: ClusterCIDR (the default), NodeCIDR, BridgeInterface or InterfaceNamePrefix"),
    ("pod-bridge-interface", Text, &["detectLocal.bridgeInterface"], "The interface that all of the node's pods come in through"),
    ("pod-interface-name-prefix", Text, &["detectLocal.interfaceNamePrefix"], "How the names of the interfaces begin that pods come in through"),
    ("nodeport-addresses", List, &["nodePortAddresses"], "Answer on node ports only on the node's addresses in these networks; also the words primary, localhost, all"),
    ("masquerade-all", Switch, &["iptables.masqueradeAll", "nftables.masqueradeAll"], "Masquerade everything that goes through a cluster IP"),
    ("iptables-masquerade-bit", Number, &["iptables.masqueradeBit", "nftables.masqueradeBit"], "The bit of a packet's mark that asks for masquerade, 0 to 31"),
    ("iptables-localhost-nodeports", Switch, &["iptables.localhostNodePorts"], "Mode iptables: answer on node ports on 127.0.0.0/8, too"),
    ("iptables-sync-period", Text, &["iptables.syncPeriod", "nftables.syncPeriod"], "Look at what the kernel has this often, and repair it"),
    ("iptables-min-sync-period", Text, &["iptables.minSyncPeriod", "nftables.minSyncPeriod"], "Change the kernel at most this often"),
    ("ipvs-scheduler", Text, &["ipvs.scheduler"], "Mode ipvs: how an endpoint is chosen; rr by default"),
    ("ipvs-exclude-cidrs", List, &["ipvs.excludeCIDRs"], "Mode ipvs: leave virtual servers in these networks alone"),
    ("ipvs-strict-arp", Switch, &["ipvs.strictARP"], "Mode ipvs: answer ARP only on the interface that has the address"),
    ("ipvs-sync-period", Text, &["ipvs.syncPeriod"], "Mode ipvs: as --iptables-sync-period"),
    ("ipvs-min-sync-period", Text, &["ipvs.minSyncPeriod"], "Mode ipvs: as --iptables-min-sync-period"),
    ("ipvs-tcp-timeout", Text, &["ipvs.tcpTimeout"], "Mode ipvs: idle TCP connections end after this"),
    ("ipvs-tcpfin-timeout", Text, &["ipvs.tcpFinTimeout"], "Mode ipvs: TCP connections end so long after a FIN"),
    ("ipvs-udp-timeout", Text, &["ipvs.udpTimeout"], "Mode ipvs: silent UDP connections end after this"),
    ("bind-address", Text, &["bindAddress"], "The node's primary address, where the Node does not say it"),
    ("healthz-bind-address", Text, &["healthzBindAddress"], "Where /healthz and /livez are answered, 0.0.0.0:10256 by default; empty: nowhere"),
    ("metrics-bind-address", Text, &["metricsBindAddress"], "Where /metrics and /proxyMode are served, 127.0.0.1:10249 by default; empty: nowhere"),
    ("bind-address-hard-fail", Switch, &["bindAddressHardFail"], "End where one of these addresses cannot be bound, rather than try again"),
    ("oom-score-adj", Number, &["oomScoreAdj"], "The agent's oom_score_adj"),
    ("config-sync-period", Text, &["configSyncPeriod"], ""),
    ("conntrack-max-per-core", Number, &["conntrack.maxPerCore"], ""),
    ("conntrack-min", Number, &["conntrack.min"], ""),
    ("conntrack-tcp-be-liberal", Switch, &["conntrack.tcpBeLiberal"], ""),
    ("conntrack-tcp-timeout-close-wait", Text, &["conntrack.tcpCloseWaitTimeout"], ""),
    ("conntrack-tcp-timeout-established", Text, &["conntrack.tcpEstablishedTimeout"], ""),
    ("conntrack-udp-timeout", Text, &["conntrack.udpTimeout"], ""),
    ("conntrack-udp-timeout-stream", Text, &["conntrack.udpStreamTimeout"], ""),
    ("feature-gates", Gates, &["featureGates"], ""),
    ("kube-api-burst", Number, &["clientConnection.burst"], ""),
    ("kube-api-content-type", Text, &["clientConnection.contentType"], ""),
    ("kube-api-qps", Number, &["clientConnection.qps"], ""),
    ("profiling", Switch, &["enableProfiling"], ""),
    ("show-hidden-metrics-for-version", Text, &["showHiddenMetricsForVersion"], ""),
];

/// A message about a field, with the name of the flag that stands for it.
pub fn in_terms_of_flags(message: &str) -> String {
    let flag = message.split_once(": ").and_then(|(path, what)| {
        let (flag, ..) = ROWS.iter().find(|row| row.2.contains(&path))?;
        Some(format!("--{flag}: {what}"))
    });
    flag.unwrap_or_else(|| message.to_owned())
}

/// The flags of a command line that stand for fields, and `--config`.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The file that holds the fields instead.
    pub config: Option<PathBuf>,
    given: Vec<(&'static Row, String)>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kind")
    }
}

impl Flags {
    /// The names of the flags that were given, without `--`, in the table's order.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        self.given.iter().map(|(row, _)| row.0)
    }

    /// `--hostname-override`, as a name in the API is written.
    pub fn node_name(&self) -> Option<String> {
        let (_, text) = self.given.iter().find(|(r, _)| r.0 == "hostname-override")?;
        Some(text.trim().to_lowercase()).filter(|name| !name.is_empty())
    }

    /// The fields that the flags stand for.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for ((_, kind, paths, _), text) in &self.given {
            for path in *paths {
                let value = value_of(*kind, text);
                let Some((section, name)) = path.split_once('.') else {
                    fields.insert((*path).to_owned(), value);
                    continue;
                };
                let section = fields.entry(section).or_insert_with(|| Map::new().into());
                section[name] = value;
            }
        }
        fields
    }
}

/// A text that is none of the kind stays a text, and the field refuses it.
fn value_of(kind: Kind, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match kind {
        Text => as_text(),
        Switch => text.parse().map_or_else(|_| as_text(), Value::Bool),
        Number => serde_json::from_str::<serde_json::Number>(text)
            .map_or_else(|_| as_text(), Value::Number),
        List => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        Gates => text
            .split(',')
            .filter_map(|gate| gate.split_once('='))
            .map(|(name, value)| (name.to_owned(), value_of(Switch, value)))
            .collect(),
    }
}

/// `MODES` is where the names of the modes come.
fn help_of(help: &'static str) -> String {
    match help {
        "" => "No effect".to_owned(),
        help => help.replace("MODES", &modes::listed(modes::MODES)),
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A KubeProxyConfiguration; beside it, of these flags only --hostname-override counts");
        ROWS.iter().fold(command.arg(config), |command, row| {
            let (name, kind, _, help) = *row;
            let arg = Arg::new(name)
                .long(name)
                .action(ArgAction::Set)
                .hide(help.is_empty())
                .help(help_of(help));
            command.arg(match kind {
                Switch => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_name("BOOL"),
                _ => arg.allow_hyphen_values(true).value_name("VALUE"),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        let given = ROWS.iter().filter_map(|row| {
            let text = matches.get_one::<String>(row.0)?;
            Some((row, text.clone()))
        });
        self.given = given.collect();
        Ok(())
    }
}
