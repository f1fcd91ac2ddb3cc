//! The agent's configuration: kind `KubeProxyConfiguration` of
//! `kubeproxy.config.k8s.io/v1alpha1`, from a file or from flags that stand for its
//! fields. Never looks at the node: what depends on it is resolved by `node`.

mod field;
mod file;
mod flags;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;

pub use client::duration::parse as parse_duration;
pub use field::Report;
pub use flags::Flags;

use crate::mode::Entry;
use crate::settings::IpvsSettings;

/// Bytes of a configuration file at most; etcd takes no larger ConfigMap.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How traffic of this node's pods is told from other traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// It comes from one of these networks, at most one of each family.
    ClusterCidr(Vec<IpNet>),
    /// It comes from the node's `spec.podCIDRs`.
    NodeCidr,
    /// It comes in through this interface.
    BridgeInterface(String),
    /// It comes in through an interface whose name begins so.
    InterfaceNamePrefix(String),
}

/// `nodePortAddresses`: where node ports answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// `primary`: on the addresses that the Node names as its own.
    pub primary: bool,
    /// On the node's addresses in these networks. With `primary` false, empty means
    /// all but loopback.
    pub networks: Vec<IpNet>,
}

/// Everything that can be configured, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `clientConnection.kubeconfig`; `None`: the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// `hostnameOverride`, in lower case; `None`: the host's name.
    pub node_name: Option<String>,
    /// `bindAddress` where it names one: the node's primary address.
    pub node_address: Option<IpAddr>,
    /// `mode`
    pub mode: &'static Entry,
    /// `detectLocalMode` and the fields that it makes count.
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`
    pub node_port_addresses: NodePortAddresses,
    /// `masqueradeAll` of the mode's section.
    pub masquerade_all: bool,
    /// `masqueradeBit` of the mode's section, 0 to 31.
    pub masquerade_bit: u8,
    /// `iptables.localhostNodePorts`
    pub localhost_node_ports: bool,
    /// Section `ipvs`.
    pub ipvs: IpvsSettings,
    /// `syncPeriod` of the mode's section: between two looks at what the kernel has.
    pub sync_period: Duration,
    /// `minSyncPeriod` of the mode's section: between two rounds at least.
    pub min_sync_period: Duration,
    /// `healthzBindAddress`; `None`: not served.
    pub healthz_bind_address: Option<SocketAddr>,
    /// `metricsBindAddress`; `None`: not served.
    pub metrics_bind_address: Option<SocketAddr>,
    /// `bindAddressHardFail`: an address that cannot be bound ends the agent.
    pub bind_address_hard_fail: bool,
    /// `oomScoreAdj`, where it is asked for.
    pub oom_score_adj: Option<i16>,
}

impl Config {
    /// The configuration of a command line with one of these modes, the first by default,
    /// and what is to be said about it.
    ///
    /// As upstream: with `--config`, flags that stand for fields of the file do not
    /// count, except `--hostname-override`.
    ///
    /// # Errors
    /// A file that cannot be read; all fields that cannot be used, by their paths.
    pub fn load(modes: &'static [Entry], flags: &Flags) -> anyhow::Result<(Config, Vec<String>)> {
        let Some(path) = &flags.config else {
            let (config, mut report) = file::read(modes, flags.fields(), file::Source::Flags);
            for messages in [&mut report.errors, &mut report.warnings] {
                for message in messages.iter_mut() {
                    *message = flags::in_terms_of_flags(message);
                }
                messages.dedup();
            }
            return check(config, report).context("the flags cannot be used");
        };
        let text = read_file(path)
            .with_context(|| format!("cannot read configuration file {}", path.display()))?;
        let what = || format!("configuration file {} cannot be used", path.display());
        let (mut config, mut warnings) = parse(modes, &text).with_context(what)?;
        if let Some(name) = flags.node_name() {
            config.node_name = Some(name);
        }
        let overruled = flags.given().filter(|flag| *flag != "hostname-override");
        warnings.extend(overruled.map(|flag| format!("--{flag}: does not count beside --config")));
        Ok((config, warnings))
    }
}

/// The configuration that a file's text holds, and warnings.
///
/// # Errors
/// No YAML, another kind, or all fields that cannot be used, by their paths.
pub fn parse(modes: &'static [Entry], text: &str) -> anyhow::Result<(Config, Vec<String>)> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let tree: serde_json::Value =
        serde_saphyr::from_str_with_options(text, options).context("it is no YAML")?;
    let serde_json::Value::Object(mut fields) = tree else {
        bail!("it is no KubeProxyConfiguration: it has no fields");
    };
    let mut header = |name: &str, expected: &str| {
        let value = fields.remove(name).unwrap_or_default();
        match value.as_str() == Some(expected) {
            true => Ok(()),
            false => Err(anyhow::anyhow!("{name}: must be {expected}, is {value}")),
        }
    };
    header("kind", "KubeProxyConfiguration")?;
    header("apiVersion", "kubeproxy.config.k8s.io/v1alpha1")?;
    let (config, report) = file::read(modes, fields, file::Source::File);
    check(config, report)
}

fn check(config: Config, report: Report) -> anyhow::Result<(Config, Vec<String>)> {
    if report.errors.is_empty() {
        return Ok((config, report.warnings));
    }
    bail!("{}", report.errors.join("; "))
}

fn read_file(path: &std::path::Path) -> anyhow::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let length = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        bail!("it is larger than {MAX_FILE_BYTES} bytes");
    }
    Ok(text)
}
