//! What rules do to a connection's first packet: walks hooks and chains as netfilter does,
//! and at each rule that asks for luck both ways. Never looks at a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proxy_agent::mode::iptables::parse::parse_rule;
use proxy_agent::mode::iptables::rule::{Action, Recent, Rule, State};
use proxy_agent::routes::Target;

use super::super::packet::{Outcome, Packet};
use super::memory::Memory;

/// More jumps than any packet makes.
const MAX_DEPTH: usize = 16;

/// One node's rules with what packets left in them.
pub struct Tracer {
    chains: BTreeMap<(String, String), Vec<Rule>>,
    node_addresses: Vec<IpAddr>,
    interface_of: fn(&IpAddr) -> &'static str,
    /// Which clients are in which endpoint's list.
    pub remembered: BTreeSet<(String, IpAddr)>,
}

#[derive(Clone)]
struct Walk {
    packet: Packet,
    from_node: bool,
    mark: u32,
    dnat: Option<Target>,
    masquerade: bool,
    remember: Option<String>,
    interface: &'static str,
}

enum End {
    /// The chain said nothing.
    Return,
    Accept,
    Drop,
    Reject,
}

/// The luck of one walk: what was decided, with the probability of each.
struct Luck {
    decided: Vec<(bool, f64)>,
    next: usize,
}

impl Luck {
    fn draw(&mut self, probability: f64) -> bool {
        if self.next == self.decided.len() {
            self.decided.push((true, probability));
        }
        self.next += 1;
        self.decided[self.next - 1].0
    }

    fn probability(&self) -> f64 {
        let of = |(is, p): &(bool, f64)| if *is { *p } else { 1.0 - p };
        self.decided.iter().map(of).product()
    }

    /// The next walk's beginning; `None`: all have been walked.
    fn turn(mut self) -> Option<Luck> {
        while let Some((is, probability)) = self.decided.pop() {
            if is {
                self.decided.push((false, probability));
                self.next = 0;
                return Some(self);
            }
        }
        None
    }
}

impl Tracer {
    /// A tracer over what is in `memory`, for a node with these addresses.
    pub fn new(
        memory: &Memory,
        node_addresses: Vec<IpAddr>,
        interface_of: fn(&IpAddr) -> &'static str,
    ) -> Tracer {
        let mut chains = BTreeMap::new();
        for (table, all) in &memory.tables {
            for (chain, rules) in all {
                let rules = rules
                    .iter()
                    .map(|rule| parse_rule(rule).unwrap_or_else(|| panic!("cannot read {rule}")));
                chains.insert((table.clone(), chain.clone()), rules.collect());
            }
        }
        Tracer { chains, node_addresses, interface_of, remembered: BTreeSet::new() }
    }

    /// Every outcome that chance allows, with its probability.
    pub fn chances(&self, packet: &Packet) -> BTreeMap<Outcome, f64> {
        let mut outcomes = BTreeMap::new();
        let mut luck = Some(Luck { decided: Vec::new(), next: 0 });
        while let Some(mut now) = luck {
            let (outcome, _) = self.walk(packet, &mut now);
            *outcomes.entry(outcome).or_insert(0.0) += now.probability();
            luck = now.turn();
        }
        outcomes
    }

    /// Every outcome; where there are several, all are equally likely.
    pub fn outcomes(&self, packet: &Packet) -> BTreeSet<Outcome> {
        let chances = self.chances(packet);
        let even = 1.0 / chances.len() as f64;
        for (outcome, chance) in &chances {
            assert!((chance - even).abs() < 1e-6, "{packet:?}: {outcome:?} at {chance}");
        }
        chances.into_keys().collect()
    }

    /// What becomes of a packet that is never lucky; it is remembered.
    pub fn send(&mut self, packet: &Packet, lucky: bool) -> Outcome {
        let mut luck = Luck { decided: vec![(lucky, 0.5); 64], next: 0 };
        let (outcome, remember) = self.walk(packet, &mut luck);
        let source = packet.source;
        self.remembered.extend(remember.map(|list| (list, source)));
        outcome
    }

    fn is_node(&self, address: &IpAddr) -> bool {
        self.node_addresses.contains(address)
    }

    fn walk(&self, packet: &Packet, luck: &mut Luck) -> (Outcome, Option<String>) {
        let from_node = self.is_node(&packet.source);
        let mut walk = Walk {
            packet: packet.clone(),
            from_node,
            mark: 0,
            dnat: None,
            masquerade: false,
            remember: None,
            interface: (self.interface_of)(&packet.source),
        };
        let hooks: &[(&str, &str)] = match from_node {
            true => &[("nat", "OUTPUT"), ("filter", "OUTPUT"), ("nat", "POSTROUTING")],
            false => &[("nat", "PREROUTING")],
        };
        for (table, hook) in hooks {
            if let Some(refused) = self.hook(table, hook, &mut walk, luck) {
                return (refused, None);
            }
        }
        // Routed by the address that it has now.
        let more: &[(&str, &str)] = match (from_node, self.is_node(&walk.packet.destination)) {
            (_, true) => &[("filter", "INPUT"), ("nat", "INPUT")],
            (false, false) => &[("filter", "FORWARD"), ("nat", "POSTROUTING")],
            (true, false) => &[],
        };
        for (table, hook) in more {
            if let Some(refused) = self.hook(table, hook, &mut walk, luck) {
                return (refused, None);
            }
        }
        let outcome = match walk.dnat {
            None => Outcome::Untouched,
            Some(target) => Outcome::Endpoint { target, masquerade: walk.masquerade },
        };
        (outcome, walk.remember)
    }

    fn hook(&self, table: &str, hook: &str, walk: &mut Walk, luck: &mut Luck) -> Option<Outcome> {
        match self.chain(table, hook, walk, luck, 0) {
            End::Drop => Some(Outcome::Drop),
            End::Reject => Some(Outcome::Reject),
            End::Return | End::Accept => None,
        }
    }

    fn chain(
        &self,
        table: &str,
        chain: &str,
        walk: &mut Walk,
        luck: &mut Luck,
        depth: usize,
    ) -> End {
        assert!(depth < MAX_DEPTH, "{chain} goes round");
        let key = (table.to_owned(), chain.to_owned());
        let Some(rules) = self.chains.get(&key) else { panic!("no chain {chain} in {table}") };
        for rule in rules {
            if !self.matches(rule, walk, luck) {
                continue;
            }
            match &rule.action {
                None => {}
                Some(Action::Jump(to)) => match self.chain(table, to, walk, luck, depth + 1) {
                    End::Return => {}
                    end => return end,
                },
                Some(Action::Return) => return End::Return,
                Some(Action::Accept) => return End::Accept,
                Some(Action::Drop) => return End::Drop,
                Some(Action::Reject) => return End::Reject,
                Some(Action::Mark(bits)) => walk.mark |= bits,
                Some(Action::Unmark(bits)) => walk.mark ^= bits,
                Some(Action::Masquerade) => {
                    walk.masquerade = true;
                    assert_eq!(walk.mark, 0, "a mark is left behind");
                    return End::Accept;
                }
                Some(Action::SendTo(target)) => {
                    assert!(rule.protocol.is_some(), "DNAT to a port of no protocol");
                    walk.dnat = Some(*target);
                    walk.packet.destination = target.address;
                    walk.packet.port = target.port;
                    return End::Accept;
                }
            }
        }
        End::Return
    }

    fn matches(&self, rule: &Rule, walk: &mut Walk, luck: &mut Luck) -> bool {
        let packet = &walk.packet;
        let within = |end: &Option<(bool, ipnet::IpNet)>, address: &IpAddr| {
            end.is_none_or(|(is, network)| network.contains(address) == is)
        };
        let named = |name: &str| match name.strip_suffix('+') {
            Some(start) => walk.interface.starts_with(start),
            None => walk.interface == name,
        };
        let holds = within(&rule.source, &packet.source)
            && within(&rule.destination, &packet.destination)
            && rule.interface.as_ref().is_none_or(|(is, name)| {
                let comes_in = !walk.from_node && !walk.interface.is_empty();
                (comes_in && named(name)) == *is
            })
            && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && rule.port.is_none_or(|port| port == packet.port)
            && rule.state.is_none_or(|state| state == State::New)
            && rule.from_local.is_none_or(|is| self.is_node(&packet.source) == is)
            && (!rule.to_local || self.is_node(&packet.destination))
            && rule.marked.is_none_or(|(is, bits)| (walk.mark & bits == bits) == is);
        if !holds {
            return false;
        }
        match &rule.recent {
            Some(Recent::Set { list }) => walk.remember = Some(list.clone()),
            Some(Recent::Check { list, .. }) => {
                let client = (list.clone(), walk.packet.source);
                if !self.remembered.contains(&client) {
                    return false;
                }
            }
            None => {}
        }
        rule.chance.is_none_or(|chance| luck.draw(chance.probability()))
    }
}
