//! From what is installed to what is wanted. Pure; never talks to the kernel.
//!
//! The order is such that a packet at any moment in between finds what was before or what
//! comes: a real server is there before the table lets packets through to it, the table
//! refuses before the last one goes, packets from outside are marked only while the mark
//! leads somewhere. A TCP or SCTP real server that is no longer wanted gets no new
//! connections, and goes when it has none left; `drained` looks for those.

use std::collections::BTreeSet;

use super::kernel::{Installed, Op};
use super::layout;
use super::plan::{Plan, Wanted};
use super::server::{Frontend, Name, RealServer, VirtualServer, is_our_mark};
use super::{parameters, plan};
use crate::nft::diff::{frame_of, guards, push_chain, replace};
use crate::nft::parts::ALLOW;
use crate::nft::ruleset::Op as TableOp;
use crate::nft::scope::Scope;
use crate::nft::set::{Data, Key, SetName};
use crate::routes::{Family, Protocol};
use crate::settings::Settings;

/// What does not depend on Services: kernel parameters, interface, the table's chains.
pub fn frame(settings: &Settings, release: &str, installed: &Installed) -> Vec<Op> {
    let mut ops = Vec::new();
    for (path, value) in parameters::wanted(settings, release) {
        if installed.parameters.get(path).map(String::as_str) != Some(value) {
            ops.push(Op::SetParameter(path, value.to_owned()));
        }
    }
    let ipvs = &settings.ipvs;
    let timeouts = [ipvs.tcp_timeout, ipvs.tcp_fin_timeout, ipvs.udp_timeout]
        .map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
    let differs = |(wanted, is): (&u32, &u32)| *wanted != 0 && wanted != is;
    if timeouts.iter().zip(&installed.timeouts).any(differs) {
        ops.push(Op::SetTimeouts(timeouts));
    }
    if !installed.interface {
        ops.push(Op::AddInterface);
    }
    let chains = layout::chains(settings);
    let steps = frame_of(&layout::SETS, chains, layout::constant_elements(), &installed.table);
    ops.extend(steps.into_iter().map(Op::Table));
    ops
}

/// What must be done for `plan`, in order.
pub fn make(settings: &Settings, installed: &Installed, plan: &Plan) -> Vec<Op> {
    let mut diff = Diff { settings, installed, plan, ops: Vec::new() };
    diff.prepare_table();
    diff.make_servers(outside_of);
    diff.table_outside();
    diff.make_servers(inside_of);
    diff.add_addresses();
    diff.table_inside();
    diff.shrink_servers(inside_of);
    diff.delete_servers();
    diff.delete_addresses();
    diff.sweep_table();
    diff.shrink_servers(outside_of);
    diff.ops
}

/// Removes what no destination uses any more: virtual servers of marks that nobody has,
/// once their connections have ended, and chains of sources.
pub fn unused(installed: &Installed) -> Vec<Op> {
    let mut ops = Vec::new();
    let marks: BTreeSet<u32> = installed
        .table
        .elements(SetName::Marks)
        .filter_map(|(_, data)| match data {
            Data::Value(mark) => Some(*mark),
            _ => None,
        })
        .collect();
    let is_unused = |name: &Name| match name {
        Name::Mark(_, mark) => is_our_mark(*mark) && !marks.contains(mark),
        Name::Frontend(_) => false,
    };
    let servers = installed.servers.iter();
    for (name, server) in servers.filter(|(name, _)| is_unused(name)) {
        let has_none = |real: &RealServer| real.weight == 0 && real.connections == Some(0);
        if server.reals.values().all(has_none) {
            ops.push(Op::DeleteServer(*name));
        }
        for (target, real) in &server.reals {
            if real.weight != 0 {
                ops.push(Op::SetReal(*name, *target, 0));
            }
        }
    }
    let chains: BTreeSet<String> = guards(&installed.table).collect();
    let is_unused = |name: &&String| name.starts_with(ALLOW) && !chains.contains(*name);
    let unused = installed.table.chains.keys().filter(is_unused);
    ops.extend(unused.map(|name| Op::Table(vec![TableOp::DeleteChain(name.clone())])));
    ops
}

/// Removes the real servers that get no new connections and have none left.
pub fn drained(installed: &Installed, name: &Name) -> Vec<Op> {
    let reals = installed.servers.get(name).into_iter();
    let reals = reals.flat_map(|server| &server.reals);
    reals
        .filter(|(_, real)| real.weight == 0 && real.connections == Some(0))
        .map(|(target, _)| Op::DeleteReal(*name, *target))
        .collect()
}

/// The virtual servers that this mode has made.
pub fn servers_of_ours<'a>(
    settings: &'a Settings,
    installed: &'a Installed,
) -> impl Iterator<Item = Name> + 'a {
    let is_ours = |name: &&Name| match name {
        Name::Frontend(frontend) => plan::is_ours(settings, installed, frontend),
        Name::Mark(_, mark) => is_our_mark(*mark),
    };
    installed.servers.keys().filter(is_ours).copied()
}

/// What is to go with the mode: the virtual servers that this mode has made, or else, where
/// the interface is there but not this mode's table, a kube-proxy's. That one makes virtual
/// servers for node ports on the node's own addresses.
pub fn servers_of_a_proxy(installed: &Installed) -> Vec<Name> {
    let settings = Settings::new(Family::V4);
    let mut all: BTreeSet<Name> = servers_of_ours(&settings, installed).collect();
    if installed.interface && !installed.table.table {
        let is_own = |name: &&Name| match name {
            Name::Frontend(frontend) => installed.own.contains(&frontend.address),
            Name::Mark(..) => false,
        };
        all.extend(installed.servers.keys().filter(is_own));
    }
    all.into_iter().collect()
}

type ServerOf = fn(Family, Frontend, &Wanted) -> Option<(Name, &VirtualServer)>;

fn inside_of(_: Family, frontend: Frontend, wanted: &Wanted) -> Option<(Name, &VirtualServer)> {
    Some((Name::Frontend(frontend), &wanted.server))
}

fn outside_of(family: Family, _: Frontend, wanted: &Wanted) -> Option<(Name, &VirtualServer)> {
    let outside = wanted.outside.as_ref()?;
    Some((Name::Mark(family, outside.mark), &outside.server))
}

struct Diff<'a> {
    settings: &'a Settings,
    installed: &'a Installed,
    plan: &'a Plan,
    ops: Vec<Op>,
}

impl<'a> Diff<'a> {
    fn step(&mut self, ops: Vec<TableOp>) {
        if !ops.is_empty() {
            self.ops.push(Op::Table(ops));
        }
    }

    fn element(&mut self, set: SetName, key: Key, data: Data) {
        let mut step = Vec::new();
        let old = self.installed.table.get(set, &key);
        replace(old, set, key, data, &mut step);
        self.step(step);
    }

    fn delete(&mut self, set: SetName, key: Key) {
        if self.installed.table.get(set, &key).is_some() {
            self.ops.push(Op::Table(vec![TableOp::Delete(set, key)]));
        }
    }

    fn wanted(&self) -> impl Iterator<Item = (Frontend, &'a Wanted)> + use<'a> {
        let frontends = self.plan.frontends.iter();
        frontends.filter_map(|(frontend, wanted)| Some((*frontend, wanted.as_ref()?)))
    }

    /// Who may come, which addresses are Services' alone, and the values of destinations
    /// that are new.
    fn prepare_table(&mut self) {
        let plan = self.plan;
        let mut made = BTreeSet::new();
        for scope in plan.pick_guards.iter().chain(&plan.guards) {
            for chain in &scope.chains {
                let mut step = Vec::new();
                if made.insert(&chain.name) {
                    push_chain(&self.installed.table, chain.clone(), &mut step);
                }
                self.step(step);
            }
            for (key, data) in &scope.elements {
                self.element(scope.set, key.clone(), data.clone());
            }
        }
        for (frontend, wanted) in self.wanted() {
            let key = Key::Destination(frontend.destination());
            if self.installed.table.get(SetName::Services, &key).is_none() {
                self.element(SetName::Services, key, Data::Value(wanted.value));
            }
        }
        for (address, _) in self.plan.addresses.iter().filter(|(_, carried)| **carried) {
            self.element(SetName::Addresses, Key::Address(*address), Data::None);
        }
    }

    fn make_servers(&mut self, of: ServerOf) {
        let installed = self.installed;
        for (frontend, wanted) in self.wanted() {
            let Some((name, server)) = of(self.settings.family, frontend, wanted) else {
                continue;
            };
            let old = installed.servers.get(&name);
            let scheduling = server.scheduling.clone();
            match old {
                None => self.ops.push(Op::AddServer(name, scheduling)),
                Some(old) if old.scheduling == scheduling => {}
                Some(_) => self.ops.push(Op::SetServer(name, scheduling)),
            }
            for (target, real) in &server.reals {
                match old.and_then(|old| old.reals.get(target)) {
                    None => self.ops.push(Op::AddReal(name, *target, real.weight)),
                    Some(old) if old.weight == real.weight => {}
                    Some(_) => self.ops.push(Op::SetReal(name, *target, real.weight)),
                }
            }
        }
    }

    fn table_outside(&mut self) {
        for (frontend, wanted) in self.wanted() {
            if let Some(outside) = &wanted.outside {
                let key = Key::Destination(frontend.destination());
                self.element(SetName::Marks, key.clone(), Data::Value(outside.mark));
                self.element(SetName::OutsideServices, key, Data::Value(outside.value));
            }
        }
    }

    fn add_addresses(&mut self) {
        for (address, _) in self.plan.addresses.iter().filter(|(_, carried)| **carried) {
            if !self.installed.carried.contains(address) {
                self.ops.push(Op::AddAddress(*address));
            }
        }
    }

    /// The values of destinations that were there, and the endpoints of this node.
    fn table_inside(&mut self) {
        for (frontend, wanted) in self.wanted() {
            let key = Key::Destination(frontend.destination());
            if self.installed.table.get(SetName::Services, &key).is_some() {
                self.element(SetName::Services, key, Data::Value(wanted.value));
            }
        }
        for (address, own) in &self.plan.own_endpoints {
            let key = Key::Pair(*address);
            match own {
                true => self.element(SetName::Hairpin, key, Data::None),
                false => self.delete(SetName::Hairpin, key),
            }
        }
    }

    /// Real servers that are no longer wanted.
    fn shrink_servers(&mut self, of: ServerOf) {
        let installed = self.installed;
        for (frontend, wanted) in self.wanted() {
            let Some((name, server)) = of(self.settings.family, frontend, wanted) else {
                continue;
            };
            let old = installed.servers.get(&name).into_iter();
            for (target, real) in old.flat_map(|old| &old.reals) {
                if server.reals.contains_key(target) {
                    continue;
                }
                if frontend.protocol == Protocol::Udp {
                    self.ops.push(Op::DeleteReal(name, *target));
                } else if real.weight != 0 {
                    self.ops.push(Op::SetReal(name, *target, 0));
                }
            }
        }
    }

    fn delete_servers(&mut self) {
        for frontend in self.plan.frontends.iter().filter(|(_, wanted)| wanted.is_none()) {
            let name = Name::Frontend(*frontend.0);
            if self.installed.servers.contains_key(&name) {
                self.ops.push(Op::DeleteServer(name));
            }
        }
    }

    fn delete_addresses(&mut self) {
        for (address, _) in self.plan.addresses.iter().filter(|(_, carried)| !**carried) {
            if self.installed.carried.contains(address) {
                self.ops.push(Op::DeleteAddress(*address));
            }
            self.delete(SetName::Addresses, Key::Address(*address));
        }
    }

    /// What nobody wants any more. Packets from outside first: without a mark they are
    /// treated as those from inside.
    fn sweep_table(&mut self) {
        for (frontend, wanted) in &self.plan.frontends {
            let key = Key::Destination(frontend.destination());
            let outside = wanted.as_ref().and_then(|wanted| wanted.outside.as_ref());
            if outside.is_none() {
                self.delete(SetName::OutsideServices, key.clone());
                self.delete(SetName::Marks, key.clone());
            }
            if wanted.is_none() {
                self.delete(SetName::Services, key);
            }
        }
        for scope in self.plan.guards.iter().chain(&self.plan.pick_guards) {
            self.remove(scope);
        }
    }

    /// What is there in a scope and not wanted.
    fn remove(&mut self, scope: &Scope) {
        for key in scope.unwanted(&self.installed.table) {
            self.delete(scope.set, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::mode::ipvs::server::Scheduling;

    #[test]
    fn a_stock_proxys_node_ports_go_with_its_interface_and_nobody_elses() {
        let own: IpAddr = [192, 168, 77, 11].into();
        let cluster_ip: IpAddr = [10, 96, 0, 10].into();
        let server = |address: IpAddr| {
            let (protocol, port) = (Protocol::Tcp, 30_010);
            Name::Frontend(Frontend { address, protocol, port })
        };
        let foreign = server([192, 168, 99, 1].into());
        let mut installed = Installed::default();
        for name in [server(own), server(cluster_ip), foreign] {
            let scheduling = Scheduling { scheduler: "rr".to_owned(), persistent_seconds: None };
            installed.apply(&Op::AddServer(name, scheduling));
        }
        installed.own.insert(own);
        assert_eq!(servers_of_a_proxy(&installed), []);
        installed.interface = true;
        installed.carried.insert(cluster_ip);
        let of_a_proxy = servers_of_a_proxy(&installed);
        assert_eq!(of_a_proxy, [server(cluster_ip), server(own)]);
        // With this mode's table all of this mode's are known.
        installed.table.table = true;
        assert_eq!(servers_of_a_proxy(&installed), [server(cluster_ip)]);
    }
}
