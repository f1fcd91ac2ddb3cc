//! What every table of ours is made of: rules and chains by few words, refusals, lists of
//! allowed sources, how packets of pods are told.

use super::face::ADDRESS_KEY;
use super::rule::{Chain, ChainType, End, Hook, HookPoint, Rule, Statement};
use super::set::{Data, Key, SetName, Verdict};
use crate::routes::Protocol;
use crate::settings::{LocalTraffic, Settings};

/// A destination's value where nobody serves: refuse.
pub const REJECT: u32 = 0;
/// A destination's value where nobody serves here: drop.
pub const DROP: u32 = 1 << 14;
/// The priority at which sources are replaced.
pub const SRCNAT: i32 = 100;
/// How the names of chains begin that let in a list of sources.
pub const ALLOW: &str = "allow-";
/// What nft knows as words of its language cannot be names.
pub const REFUSE: &str = "refuse";
const NEW_SOURCE: &str = "new-source";

/// A rule.
pub fn rule<const N: usize>(statements: [Statement; N]) -> Rule {
    Rule { statements: statements.into() }
}

/// Goes through a chain.
pub fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.to_owned()))
}

/// Goes on in a chain.
pub fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.to_owned()))
}

/// A chain that the kernel calls.
pub fn base(
    name: &str,
    chain_type: ChainType,
    point: HookPoint,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain { name: name.to_owned(), hook: Some(Hook { chain_type, point, priority }), rules }
}

/// A chain that others lead to.
pub fn plain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.to_owned(), hook: None, rules }
}

/// Refuses at once.
pub fn refuse_chain() -> Chain {
    let reset = rule([Statement::IsProtocol(Protocol::Tcp), Statement::RejectTcp]);
    plain(REFUSE, vec![reset, rule([Statement::RejectIcmp])])
}

/// Who may come, for destinations that not everybody may use: `guard` is the one to call.
pub fn guard_chains() -> [Chain; 2] {
    [
        plain(
            "guarded",
            vec![
                rule([Statement::ScratchVerdict(SetName::PickGuard)]),
                // A value that leads nowhere lets nobody in.
                rule([Statement::Verdict(Verdict::Drop)]),
            ],
        ),
        plain(
            "guard",
            vec![rule([
                Statement::LoadScratch(ADDRESS_KEY.to_vec(), SetName::Guards),
                goto("guarded"),
            ])],
        ),
    ]
}

/// Replaces the source of packets that the mark asks it for; its other bits are left as
/// they are.
pub fn new_source_chain(settings: &Settings) -> Chain {
    let clear = Statement::ClearMark(settings.masquerade_mark());
    plain(NEW_SOURCE, vec![rule([clear, Statement::Masquerade])])
}

/// Leads packets with the mark to [`new_source_chain`].
pub fn to_new_source(settings: &Settings) -> Rule {
    rule([Statement::HasMark(settings.masquerade_mark()), goto(NEW_SOURCE)])
}

/// The verdicts for destinations that nobody serves.
pub fn unserved_elements() -> [(SetName, Key, Data); 2] {
    let refuse = Verdict::Goto(REFUSE.to_owned());
    [(REJECT, refuse), (DROP, Verdict::Drop)]
        .map(|(value, verdict)| (SetName::Unserved, Key::Value(value), Data::Verdict(verdict)))
}

/// Packets from outside go through this chain.
pub fn from_outside(settings: &Settings, chain: &str) -> Rule {
    let mut statements: Vec<Statement> =
        not_from_pod(&settings.local_traffic).into_iter().collect();
    statements.extend([Statement::IsLocal(End::Source, false), jump(chain)]);
    Rule { statements }
}

/// Where pods cannot be told from others there is no such statement.
pub fn not_from_pod(local_traffic: &LocalTraffic) -> Option<Statement> {
    let not_from = |name: &str, is_prefix| {
        Some(Statement::NotFromInterface { name: name.to_owned(), is_prefix })
    };
    match local_traffic {
        LocalTraffic::Unknown => None,
        LocalTraffic::Network(network) => Some(Statement::InNetwork(End::Source, *network, false)),
        LocalTraffic::Interface(name) => not_from(name, false),
        LocalTraffic::InterfacePrefix(name) => not_from(name, true),
    }
}
