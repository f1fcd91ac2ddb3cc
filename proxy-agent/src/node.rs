//! What the agent takes from its own Node: the settings of each family that depend on it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, bail};
use client::{Update, follow};
use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::config::{Config, DetectLocal};
use crate::routes::Family;
use crate::settings::{LocalTraffic, Settings};

/// What a Node says that settings can depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `spec.podCIDRs`, of which the first of each family counts.
    pub pod_cidrs: Vec<IpNet>,
    /// Its primary addresses: the first internal one of each family, else the first
    /// external one, as upstream's `GetNodeHostIPs`.
    pub addresses: Vec<IpAddr>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let networks = self.pod_cidrs.iter().map(ToString::to_string);
        let addresses = self.addresses.iter().map(ToString::to_string);
        let all: Vec<String> = networks.chain(addresses).collect();
        f.write_str(&all.join(","))
    }
}

impl Place {
    /// What this Node says.
    pub fn of(node: &Node) -> Place {
        let spec = node.spec.as_ref();
        let listed = spec.and_then(|spec| spec.pod_cidrs.clone());
        let single = || spec.and_then(|spec| spec.pod_cidr.clone()).into_iter();
        let pod_cidrs = listed.unwrap_or_else(|| single().collect());
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        let of_type = |wanted: &str| {
            let all = addresses.into_iter().flatten();
            let wanted: Vec<IpAddr> = all
                .filter(|address| address.type_ == wanted)
                .filter_map(|address| address.address.parse().ok())
                .collect();
            wanted
        };
        let ordered = [of_type("InternalIP"), of_type("ExternalIP")].concat();
        let mut families = BTreeSet::new();
        Place {
            pod_cidrs: pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
            addresses: ordered
                .into_iter()
                .filter(|address| families.insert(Family::of(address)))
                .collect(),
        }
    }

    /// The part that this configuration depends on; the rest is empty.
    pub fn needed_by(self, config: &Config) -> Place {
        let cidrs = config.detect_local == DetectLocal::NodeCidr;
        let addresses = config.node_port_addresses.primary && config.node_address.is_none();
        Place {
            pod_cidrs: if cidrs { self.pod_cidrs } else { Vec::new() },
            addresses: if addresses { self.addresses } else { Vec::new() },
        }
    }

    /// What is still missing for this configuration.
    pub fn missing_for(&self, config: &Config) -> Option<&'static str> {
        if config.detect_local == DetectLocal::NodeCidr && self.pod_cidrs.is_empty() {
            return Some("spec.podCIDRs, for detectLocalMode is NodeCIDR");
        }
        let primary = config.node_port_addresses.primary && config.node_address.is_none();
        if primary && self.addresses.is_empty() {
            return Some("status.addresses, for nodePortAddresses has `primary`");
        }
        None
    }
}

/// The node's name: as configured, or the host's.
///
/// # Errors
/// The host has none.
pub fn name(config: &Config) -> anyhow::Result<String> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname();
    let name = host.nodename().to_string_lossy().trim().to_lowercase();
    if name.is_empty() {
        bail!("this host has no name: give --hostname-override");
    }
    Ok(name)
}

/// What the configuration needs of the Node, as soon as the Node says it; at once where
/// that is nothing.
pub async fn wait(client: &Client, name: &str, config: &Config) -> Place {
    let Some(missing) = Place::default().missing_for(config) else {
        return Place::default();
    };
    tracing::info!(node = name, "waiting for the Node's {missing}");
    let nodes: Api<Node> = Api::all(client.clone());
    let mut updates = follow(nodes, &format!("metadata.name={name}"));
    loop {
        if let Some(Update::Set(node)) = updates.next().await
            && Place::of(&node).missing_for(config).is_none()
        {
            return Place::of(&node).needed_by(config);
        }
    }
}

/// Sees each state of the own Node. Where it says something else than `place`, which the
/// modes were made for, that is told to `moved`: the agent ends, to be started anew, as
/// upstream's does.
pub fn observer(
    config: Config,
    place: Place,
    moved: watch::Sender<Option<String>>,
) -> Box<dyn Fn(&Node) + Send> {
    Box::new(move |node| {
        let now = Place::of(node).needed_by(&config);
        // A Node that is made anew says it again soon.
        if now != place && now.missing_for(&config).is_none() {
            moved.send_replace(Some(format!(
                "the Node's networks or addresses have changed from {place} to {now}: ending, to begin anew with those"
            )));
        }
    })
}

/// One family's settings.
///
/// # Errors
/// `primary` node port addresses, and the Node has none of either family.
pub fn settings(config: &Config, place: &Place, family: Family) -> anyhow::Result<Settings> {
    let of_family = |network: &&IpNet| Family::of(&network.addr()) == family;
    let first = |networks: &[IpNet]| {
        let network = networks.iter().find(of_family);
        network.map_or(LocalTraffic::Unknown, |network| LocalTraffic::Network(*network))
    };
    let local_traffic = match &config.detect_local {
        DetectLocal::ClusterCidr(networks) => first(networks),
        DetectLocal::NodeCidr => first(&place.pod_cidrs),
        DetectLocal::BridgeInterface(name) => LocalTraffic::Interface(name.clone()),
        DetectLocal::InterfaceNamePrefix(prefix) => LocalTraffic::InterfacePrefix(prefix.clone()),
    };
    Ok(Settings {
        local_traffic,
        node_port_addresses: node_port_networks(config, place, family)?,
        masquerade_all: config.masquerade_all,
        masquerade_bit: config.masquerade_bit,
        localhost_node_ports: config.localhost_node_ports,
        ipvs: config.ipvs.clone(),
        ..Settings::new(family)
    })
}

/// Where node ports of one family answer; empty: everywhere but on loopback. Where
/// addresses are named and none is of the family, its unspecified address, which no
/// packet goes to, says "nowhere".
fn node_port_networks(
    config: &Config,
    place: &Place,
    family: Family,
) -> anyhow::Result<Vec<IpNet>> {
    let wanted = &config.node_port_addresses;
    let mut networks = wanted.networks.clone();
    if wanted.primary {
        let own: Vec<IpAddr> =
            config.node_address.map_or_else(|| place.addresses.clone(), |address| vec![address]);
        if own.is_empty() {
            return Err(anyhow::anyhow!("the Node has no address"))
                .context("nodePortAddresses has `primary`");
        }
        networks.extend(own.into_iter().map(IpNet::from));
    }
    if networks.is_empty() {
        return Ok(networks);
    }
    networks.retain(|network| Family::of(&network.addr()) == family);
    if networks.is_empty() {
        let nowhere: IpAddr = match family {
            Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        networks.push(nowhere.into());
    }
    networks.sort();
    networks.dedup();
    Ok(networks)
}
