//! What the rules in a `MemoryKernel` do to a connection's first packet: walks
//! hooks, chains and maps as the kernel does. Never looks at a Service.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use proxy_agent::nft::rule::{ChainType, End, Field, HookPoint, Rule, Statement};
use proxy_agent::nft::set::{Data, Key, SetName, Verdict};
use proxy_agent::routes::{Destination, Family, Target};

use super::memory_kernel::MemoryKernel;
use super::network::interface_of;
use super::packet::{Outcome, Packet};

/// One node's rules with what packets left in them.
pub struct Tracer<'a> {
    pub kernel: &'a MemoryKernel,
    pub node_addresses: &'a [IpAddr],
    pub remembered: HashMap<String, u32>,
}

/// A packet on its way.
#[derive(Clone)]
pub struct State {
    pub packet: Packet,
    pub mark: u32,
    scratch: u32,
    random: u32,
    modulus: u32,
    dnat: Option<Target>,
    pub masquerade: bool,
}

impl State {
    /// At its begin.
    pub fn new(packet: &Packet, random: u32) -> State {
        State {
            packet: packet.clone(),
            mark: 0,
            scratch: 7,
            random,
            modulus: 1,
            dnat: None,
            masquerade: false,
        }
    }

    fn mark_as(&mut self, mark: u32) -> Flow {
        self.mark = mark;
        Flow::Next
    }

    fn note(&mut self, scratch: u32) -> Flow {
        self.scratch = scratch;
        Flow::Next
    }

    /// The packet goes to an endpoint from here on.
    pub fn send_to(&mut self, target: Target) -> Flow {
        self.dnat = Some(target);
        self.packet.destination = target.address;
        self.packet.port = target.port;
        Flow::Accept
    }
}

/// Where a packet goes on.
pub enum Flow {
    Next,
    Break,
    Return,
    Accept,
    Drop,
    Reject,
}

impl Tracer<'_> {
    /// Every outcome that chance allows.
    pub fn outcomes(&mut self, packet: &Packet) -> BTreeSet<Outcome> {
        let mut outcomes = BTreeSet::new();
        let mut random = 0;
        loop {
            let (outcome, modulus) = self.trace(packet, random);
            outcomes.insert(outcome);
            random += 1;
            if random >= modulus {
                return outcomes;
            }
        }
    }

    /// The outcome for one random number, and the modulus that was asked for.
    pub fn trace(&mut self, packet: &Packet, random: u32) -> (Outcome, u32) {
        let is_local = |address: &IpAddr| self.node_addresses.contains(address);
        let from_node = is_local(&packet.source);
        let mut state = State::new(packet, random);
        let first = if from_node { HookPoint::Output } else { HookPoint::Prerouting };
        if let Some(refused) = self.hook(first, &mut state) {
            return (refused, state.modulus);
        }
        let to_node = is_local(&state.packet.destination);
        let rest: &[HookPoint] = match (from_node, to_node) {
            (true, _) => &[HookPoint::Postrouting],
            (false, true) => &[HookPoint::Input],
            (false, false) => &[HookPoint::Forward, HookPoint::Postrouting],
        };
        for point in rest {
            if let Some(refused) = self.hook(*point, &mut state) {
                return (refused, state.modulus);
            }
        }
        let outcome = match state.dnat {
            None => Outcome::Untouched,
            Some(target) => {
                let leaves = rest.contains(&HookPoint::Postrouting);
                assert!(!leaves || state.mark == 0, "a mark is left behind");
                Outcome::Endpoint { target, masquerade: state.masquerade }
            }
        };
        (outcome, state.modulus)
    }

    /// What the chains of one hook do; an outcome ends the packet's way.
    pub fn hook(&mut self, point: HookPoint, state: &mut State) -> Option<Outcome> {
        let mut chains: Vec<_> = self
            .kernel
            .chains
            .values()
            .filter(|chain| chain.hook.is_some_and(|hook| hook.point == point))
            .collect();
        chains.sort_by_key(|chain| chain.hook.map(|hook| hook.priority));
        for chain in chains {
            let is_nat = chain.hook.is_some_and(|hook| hook.chain_type == ChainType::Nat);
            if is_nat && point != HookPoint::Postrouting && state.dnat.is_some() {
                continue;
            }
            match self.chain(&chain.name.clone(), state) {
                Flow::Drop => return Some(Outcome::Drop),
                Flow::Reject => return Some(Outcome::Reject),
                _ => {}
            }
        }
        None
    }

    fn chain(&mut self, name: &str, state: &mut State) -> Flow {
        let kernel = self.kernel;
        let chain = kernel.chains.get(name).unwrap_or_else(|| panic!("no chain {name}"));
        for rule in &chain.rules {
            match self.rule(rule, state) {
                Flow::Next | Flow::Break => {}
                Flow::Return => return Flow::Return,
                end => return end,
            }
        }
        Flow::Return
    }

    fn rule(&mut self, rule: &Rule, state: &mut State) -> Flow {
        for statement in &rule.statements {
            match self.statement(statement, state) {
                Flow::Next => {}
                other => return other,
            }
        }
        Flow::Next
    }

    fn statement(&mut self, statement: &Statement, state: &mut State) -> Flow {
        let when = |condition: bool| if condition { Flow::Next } else { Flow::Break };
        let packet = &state.packet;
        let end = |end: &End| match end {
            End::Source => packet.source,
            End::Destination => packet.destination,
        };
        match statement {
            Statement::CtNew | Statement::CtUnknown => Flow::Next,
            Statement::CtDnat(is) => when(state.dnat.is_some() == *is),
            Statement::InNetwork(of, network, is) => when(network.contains(&end(of)) == *is),
            Statement::NotFromInterface { name, is_prefix } => {
                when(!comes_from(&packet.source, name, *is_prefix))
            }
            Statement::IsLocal(of, is) => when(self.node_addresses.contains(&end(of)) == *is),
            Statement::IsProtocol(protocol) => when(packet.protocol == *protocol),
            Statement::HasMark(bits) => when(state.mark & bits != 0),
            Statement::MarkIs { mask, value } => when(state.mark & mask == *value),
            Statement::LoadMark(fields, map) => match self.look_up(fields, *map, state) {
                Some(Data::Value(mark)) => state.mark_as(mark),
                _ => Flow::Break,
            },
            Statement::SetMark(bits) => state.mark_as(state.mark | bits),
            Statement::ClearMark(bits) => state.mark_as(state.mark & !bits),
            Statement::SetScratch(value) => state.note(*value),
            Statement::DrawScratch { modulus, offset } => {
                state.modulus = *modulus;
                state.note(offset + state.random % modulus)
            }
            Statement::InSet(fields, set) => when(self.look_up(fields, *set, state).is_some()),
            Statement::LoadScratch(fields, map) => match self.look_up(fields, *map, state) {
                Some(Data::Value(value)) => state.note(value),
                _ => Flow::Break,
            },
            Statement::ScratchVerdict(map) => {
                match self.kernel.ruleset.get(*map, &Key::Value(state.scratch)) {
                    Some(Data::Verdict(verdict)) => self.verdict(&verdict.clone(), state),
                    _ => Flow::Break,
                }
            }
            Statement::Remember { key, set, .. } => {
                self.remembered.insert(client(key, *set, state), state.scratch);
                Flow::Next
            }
            Statement::Forget(key, set) => {
                self.remembered.remove(&client(key, *set, state));
                Flow::Next
            }
            Statement::Dnat(fields, map) => match self.look_up(fields, *map, state) {
                Some(Data::Target(target)) => state.send_to(target),
                _ => Flow::Break,
            },
            Statement::Masquerade => {
                state.masquerade = true;
                Flow::Accept
            }
            Statement::RejectTcp | Statement::RejectIcmp => Flow::Reject,
            Statement::Verdict(verdict) => self.verdict(verdict, state),
        }
    }

    fn verdict(&mut self, verdict: &Verdict, state: &mut State) -> Flow {
        match verdict {
            Verdict::Accept => Flow::Accept,
            Verdict::Drop => Flow::Drop,
            Verdict::Return => Flow::Return,
            Verdict::Jump(chain) => match self.chain(chain, state) {
                Flow::Return => Flow::Next,
                end => end,
            },
            Verdict::Goto(chain) => self.chain(chain, state),
        }
    }

    fn look_up(&self, fields: &[Field], set: SetName, state: &State) -> Option<Data> {
        if set.is_dynamic() {
            let value = self.remembered.get(&client(fields, set, state))?;
            return Some(Data::Value(*value));
        }
        let packet = &state.packet;
        let family = Family::of(&packet.destination);
        let (protocol, port) = (packet.protocol, packet.port);
        let address = packet.destination;
        let to = Destination::Address { address, protocol, port };
        let to_node = Destination::NodePort { family, protocol, port };
        let number = |field: &Field| match field {
            Field::Scratch => state.scratch,
            other => panic!("no number: {other:?}"),
        };
        let key = match fields {
            [Field::Destination] => Key::Address(address),
            [Field::Source] => Key::Address(packet.source),
            [Field::Source, Field::Destination] => {
                (packet.source == address).then_some(Key::Pair(address))?
            }
            [Field::Destination, Field::Protocol, Field::Port] => Key::Destination(to),
            [Field::Protocol, Field::Port] => Key::Destination(to_node),
            [Field::Destination, Field::Protocol, Field::Port, last] => Key::Slot(to, number(last)),
            [Field::Protocol, Field::Port, last] => Key::Slot(to_node, number(last)),
            other => panic!("no key: {other:?}"),
        };
        self.kernel.ruleset.get(set, &key).cloned()
    }
}

fn comes_from(source: &IpAddr, name: &str, is_prefix: bool) -> bool {
    let interface = interface_of(source);
    match is_prefix {
        true => interface.starts_with(name),
        false => interface == name,
    }
}

/// The key of what is remembered for a packet's client.
fn client(fields: &[Field], set: SetName, state: &State) -> String {
    let packet = &state.packet;
    let to = fields.contains(&Field::Destination).then_some(packet.destination);
    format!("{set:?} {} {to:?} {} {}", packet.source, packet.protocol, packet.port)
}
