//! Virtual servers that only remember, and can be killed between two operations; and what
//! a connection's first packet meets there. Never looks at a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proxy_agent::mode::ipvs::kernel::{Installed, Kernel, KernelError, Op};
use proxy_agent::mode::ipvs::server::{Frontend, Name};
use proxy_agent::nft::kernel::Kernel as _;
use proxy_agent::nft::rule::HookPoint;
use proxy_agent::routes::{Family, Target};

use super::memory_kernel::MemoryKernel;
use super::packet::{Outcome, Packet};
use super::tracer::{State, Tracer};

/// One network namespace.
#[derive(Clone, Default)]
pub struct MemoryServers {
    /// All but the table.
    pub installed: Installed,
    /// The nftables table.
    pub table: MemoryKernel,
    /// Operations that succeed before the agent is "killed"; `None`: all.
    pub ops_left: Option<usize>,
    /// Real servers with a connection.
    pub busy: BTreeSet<Target>,
    /// How many operations there were.
    pub changes: usize,
}

impl Kernel for MemoryServers {
    fn dump(&mut self) -> Result<Installed, KernelError> {
        let mut installed = self.installed.clone();
        installed.table = self.table.ruleset.clone();
        for server in installed.servers.values_mut() {
            for (target, real) in &mut server.reals {
                real.connections = Some(self.busy.contains(target).into());
            }
        }
        Ok(installed)
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), KernelError> {
        for op in ops {
            if let Some(left) = &mut self.ops_left {
                if *left == 0 {
                    return Err(KernelError::Malformed("killed"));
                }
                *left -= 1;
            }
            self.changes += 1;
            self.check(op);
            match op {
                Op::Table(step) => {
                    self.table.commit(std::slice::from_ref(step))?;
                }
                other => self.installed.apply(other),
            }
        }
        Ok(())
    }

    fn connections(&mut self, name: &Name) -> Result<BTreeMap<Target, u32>, KernelError> {
        let reals = self.installed.servers.get(name).into_iter();
        let targets = reals.flat_map(|server| server.reals.keys());
        Ok(targets.map(|target| (*target, self.busy.contains(target).into())).collect())
    }
}

impl MemoryServers {
    /// A node with these addresses.
    pub fn of_node(addresses: &[IpAddr]) -> MemoryServers {
        let installed = Installed {
            own: addresses.iter().copied().filter(|a| !a.is_loopback()).collect(),
            ..Installed::default()
        };
        MemoryServers { installed, ..MemoryServers::default() }
    }

    /// What the kernel would refuse.
    fn check(&self, op: &Op) {
        let server = |name| self.installed.servers.get(name);
        let real = |name, target| server(name).and_then(|server| server.reals.get(target));
        let possible = match op {
            Op::Table(_) | Op::SetParameter(..) | Op::SetTimeouts(_) => true,
            Op::AddInterface => !self.installed.interface,
            Op::AddAddress(address) => {
                self.installed.interface && !self.installed.carried.contains(address)
            }
            Op::DeleteAddress(address) => self.installed.carried.contains(address),
            Op::AddServer(name, _) => server(name).is_none(),
            Op::SetServer(name, _) | Op::DeleteServer(name) => server(name).is_some(),
            Op::AddReal(name, target, _) => server(name).is_some() && real(name, target).is_none(),
            Op::SetReal(name, target, _) | Op::DeleteReal(name, target) => {
                real(name, target).is_some()
            }
        };
        assert!(possible, "{op:?}");
    }

    /// Everything that may become of a first packet.
    pub fn outcomes(&self, packet: &Packet) -> BTreeSet<Outcome> {
        let own = &self.installed.own;
        let local: Vec<IpAddr> = own.union(&self.installed.carried).copied().collect();
        let mut tracer =
            Tracer { kernel: &self.table, node_addresses: &local, remembered: Default::default() };
        let from_node = own.contains(&packet.source);
        let mut state = State::new(packet, 0);
        let point = match from_node {
            true => HookPoint::Output,
            false if local.contains(&packet.destination) => HookPoint::Input,
            false => HookPoint::Forward,
        };
        if let Some(refused) = tracer.hook(point, &mut state) {
            return BTreeSet::from([refused]);
        }
        let targets = match point {
            HookPoint::Forward => None,
            _ => self.scheduled(&state),
        };
        let Some(targets) = targets else {
            return BTreeSet::from([Outcome::Untouched]);
        };
        if targets.is_empty() {
            return BTreeSet::from([Outcome::Reject]);
        }
        let after = |target| {
            let mut state = state.clone();
            state.send_to(target);
            // What is delivered here does not leave.
            if from_node || !own.contains(&target.address) {
                tracer.hook(HookPoint::Postrouting, &mut state);
                assert_eq!(state.mark, 0, "a mark is left behind");
            }
            Outcome::Endpoint { target, masquerade: state.masquerade }
        };
        targets.into_iter().map(after).collect()
    }

    /// The real servers that get new connections; `None`: no virtual server.
    fn scheduled(&self, state: &State) -> Option<Vec<Target>> {
        let packet = &state.packet;
        let by_mark = Name::Mark(Family::of(&packet.destination), state.mark);
        let by_frontend = Name::Frontend(Frontend {
            address: packet.destination,
            protocol: packet.protocol,
            port: packet.port,
        });
        let servers = &self.installed.servers;
        let server = servers.get(&by_mark).or(servers.get(&by_frontend))?;
        let reals = server.reals.iter().filter(|(_, real)| real.weight > 0);
        Some(reals.map(|(target, _)| *target).collect())
    }
}
