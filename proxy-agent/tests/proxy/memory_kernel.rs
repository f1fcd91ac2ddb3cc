//! A kernel that only remembers, and can be killed between two steps. Never
//! chooses what a packet does: that is `tracer`'s.

use std::collections::{BTreeMap, BTreeSet};

use proxy_agent::nft::face::FACES;
use proxy_agent::nft::kernel::{Kernel, KernelError, Traffic};
use proxy_agent::nft::rule::Chain;
use proxy_agent::nft::ruleset::{Op, Ruleset, Step};
use proxy_agent::nft::set::{Data, Key, Verdict};

/// The state behind the table.
#[derive(Clone, Default)]
pub struct MemoryKernel {
    /// The table as a dump shows it.
    pub ruleset: Ruleset,
    /// The chains with their whole rules.
    pub chains: BTreeMap<String, Chain>,
    /// Steps that succeed before the agent is "killed"; `None`: all.
    pub steps_left: Option<usize>,
    /// Transactions that changed something.
    pub generation: u32,
}

impl Kernel for MemoryKernel {
    fn dump(&mut self) -> Result<Ruleset, KernelError> {
        Ok(self.ruleset.clone())
    }

    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError> {
        self.check_new_chains(steps);
        for step in steps {
            if let Some(left) = &mut self.steps_left {
                if *left == 0 {
                    return Err(KernelError::Malformed("killed"));
                }
                *left -= 1;
            }
            for op in step {
                self.check(op);
                self.ruleset.apply(op);
                match op {
                    Op::AddChain(chain) | Op::ReplaceRules(chain) => {
                        self.chains.insert(chain.name.clone(), chain.clone());
                    }
                    Op::DeleteChain(name) => {
                        self.chains.remove(name);
                    }
                    Op::DeleteTable => self.chains.clear(),
                    _ => {}
                }
            }
        }
        self.generation += 1;
        Ok(Traffic::default())
    }
}

impl MemoryKernel {
    /// A packet under way sees new elements at once and a new chain's rules not yet, so
    /// that no destination may get a value whose chain comes in the same transaction:
    /// but in a table that is new as a whole.
    fn check_new_chains(&self, steps: &[Step]) {
        let new: BTreeSet<&str> = steps
            .iter()
            .flatten()
            .filter_map(|op| match op {
                Op::AddChain(chain) => Some(chain.name.as_str()),
                _ => None,
            })
            .collect();
        if new.is_empty() || !self.ruleset.table {
            return;
        }
        let mut next = self.ruleset.clone();
        for op in steps.iter().flatten() {
            if matches!(op, Op::AddTable) {
                return;
            }
            next.apply(op);
            for face in FACES {
                let Op::Add(set, _, Data::Value(value)) = op else {
                    continue;
                };
                let Some(Data::Verdict(Verdict::Goto(chain))) =
                    next.get(face.pick(), &Key::Value(*value))
                else {
                    continue;
                };
                let is_new = *set == face.values() && new.contains(chain.as_str());
                assert!(!is_new, "{op:?} with its chain {chain}");
            }
        }
    }

    /// What the kernel would refuse.
    fn check(&self, op: &Op) {
        match op {
            Op::Add(set, key, _) => {
                assert!(self.ruleset.get(*set, key).is_none(), "{op:?}: is there")
            }
            Op::Delete(set, key) => {
                assert!(self.ruleset.get(*set, key).is_some(), "{op:?}: is not there")
            }
            Op::AddChain(chain) => {
                assert!(!self.chains.contains_key(&chain.name), "{op:?}: is there")
            }
            Op::DeleteChain(name) => {
                assert!(self.chains.contains_key(name), "{op:?}: is not there")
            }
            _ => {}
        }
    }
}
