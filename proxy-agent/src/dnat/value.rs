//! The value of a destination: one 32-bit number that says how to choose an
//! endpoint, and the chain that does it. Pure; never looks at a Service.
//!
//! A modulus and a timeout are constants in the kernel, so each distinct value
//! has a chain of its own, shared by all destinations with that value:
//!
//! | bits  | meaning                                                           |
//! |-------|-------------------------------------------------------------------|
//! | 0–13  | number of endpoints; 0: nobody serves                             |
//! | 14–31 | affinity timeout in seconds, 0: none (with 0 endpoints: 1 = drop) |
//! |       | plus 86,401 times whom to masquerade: 0, 1, 2 as in `WHOM`        |

use crate::nft::face::{Face, OUTSIDE_SLOT};
use crate::nft::parts::{ALLOW, DROP, REJECT, goto, jump, not_from_pod, plain, rule};
use crate::nft::rule::{Chain, End, Field, Rule, Statement};
use crate::nft::set::Verdict;
use crate::routes::{Affinity, MAX_ENDPOINTS, Masquerade, Route, Unserved};
use crate::settings::Settings;

const COUNT_BITS: u32 = 14;
/// The API's longest affinity timeout, and one more for none.
const TIMEOUTS: u32 = 86_401;
/// Whom to masquerade, by number; `Never` needs none, since only routes for packets
/// from outside have it.
const WHOM: [Masquerade; 3] = [Masquerade::UnlessFromPod, Masquerade::FromNode, Masquerade::Always];

/// Set in an identity that is live for packets from outside.
pub const OUTSIDE_IDENTITY: u32 = 1 << 31;

const _: () = assert!(MAX_ENDPOINTS < 1 << COUNT_BITS && MAX_ENDPOINTS < OUTSIDE_SLOT as usize);
const _: () = assert!(DROP == 1 << COUNT_BITS);
const _: () = assert!(TIMEOUTS as usize * WHOM.len() <= 1 << (32 - COUNT_BITS));

/// The value that stands for a route.
pub fn value_of(route: &Route) -> u32 {
    let count = route.endpoints.len().min(MAX_ENDPOINTS) as u32;
    if count == 0 {
        return match route.unserved {
            Unserved::Reject => REJECT,
            Unserved::Drop => DROP,
        };
    }
    let timeout = route.affinity.map_or(0, |a| a.timeout_seconds.min(TIMEOUTS - 1));
    let whom = WHOM.iter().position(|whom| *whom == route.masquerade);
    count | (timeout + TIMEOUTS * whom.unwrap_or(0) as u32) << COUNT_BITS
}

/// The number of endpoints in a value.
pub fn count_of(value: u32) -> u32 {
    value & ((1 << COUNT_BITS) - 1)
}

/// The affinity in a value.
pub fn affinity_of(value: u32) -> Option<Affinity> {
    let timeout_seconds = (value >> COUNT_BITS) % TIMEOUTS;
    (count_of(value) > 0 && timeout_seconds > 0).then_some(Affinity { timeout_seconds })
}

fn masquerade_of(value: u32) -> Masquerade {
    let whom = (value >> COUNT_BITS) / TIMEOUTS;
    WHOM.get(whom as usize).copied().unwrap_or(Masquerade::Always)
}

/// What the map of `face` says for a value: the chain that chooses, or that no
/// more chain of this hook has anything to say.
pub fn verdict_of(face: Face, value: u32) -> Verdict {
    if count_of(value) == 0 { Verdict::Accept } else { Verdict::Goto(chain_name(face, value)) }
}

fn chain_name(face: Face, value: u32) -> String {
    let mut name = format!("{}-{}", face.pick().as_str(), count_of(value));
    if let Some(affinity) = affinity_of(value) {
        name += &format!("-sticky-{}", affinity.timeout_seconds);
    }
    match masquerade_of(value) {
        Masquerade::Always => name += "-masquerade",
        Masquerade::FromNode => name += "-masquerade-node",
        Masquerade::Never | Masquerade::UnlessFromPod => {}
    }
    name
}

/// How the names of chains that come and go begin.
pub const PICK: &str = "pick-";
const RECALL: &str = "recall-";
const CHOOSE: &str = "choose-";

/// Whether a chain of this name exists only as long as some destination needs it.
pub fn is_on_demand(chain: &str) -> bool {
    [PICK, RECALL, CHOOSE, ALLOW].iter().any(|start| chain.starts_with(start))
}

/// The chains that choose among a value's endpoints, each after those that it
/// jumps to; none where nobody serves.
///
/// The first rule of a chain that refers to a map costs the kernel a walk through
/// the map. So what is made for each count refers to none: it draws a number and
/// goes on in a chain that is always there, or there is one of for each timeout.
pub fn chains_of(settings: &Settings, face: Face, value: u32) -> Vec<Chain> {
    let count = count_of(value);
    if count == 0 {
        return Vec::new();
    }
    let mut rules = Vec::new();
    if let Some(mut statements) = masquerade_condition(settings, face, value) {
        statements.push(Statement::SetMark(settings.masquerade_mark()));
        rules.push(Rule { statements });
    }
    let draw = Statement::DrawScratch { modulus: count, offset: face.first_slot() };
    let mut chains = Vec::new();
    match affinity_of(value) {
        None => rules.push(rule([draw, goto(face.endpoint_chain())])),
        Some(affinity) => {
            let (recall, choose) = sticky_chains(face, affinity);
            rules.push(rule([jump(&recall.name)]));
            rules.push(rule([draw, goto(&choose.name)]));
            chains.extend([recall, choose]);
        }
    }
    chains.push(plain(&chain_name(face, value), rules));
    chains
}

/// The chain in which the number drawn becomes an endpoint.
pub fn endpoint_chain(face: Face) -> Chain {
    let dnat = Statement::Dnat(face.key_with(Field::Scratch), face.endpoints());
    plain(face.endpoint_chain(), vec![rule([dnat])])
}

fn masquerade_condition(settings: &Settings, face: Face, value: u32) -> Option<Vec<Statement>> {
    match masquerade_of(value) {
        Masquerade::Always => Some(Vec::new()),
        Masquerade::FromNode => Some(vec![Statement::IsLocal(End::Source, true)]),
        // From outside only policy `Local` has this: the endpoint sees the client.
        _ if face.outside => None,
        _ if settings.masquerade_all => Some(Vec::new()),
        _ => Some(vec![not_from_pod(&settings.local_traffic)?]),
    }
}

/// `recall` tries the endpoint remembered for the client, which fails when it is
/// no longer live; `choose` takes the one drawn, and remembers it.
fn sticky_chains(face: Face, affinity: Affinity) -> (Chain, Chain) {
    let client = face.client_key();
    let seconds = affinity.timeout_seconds;
    let kind = if face.node_port { "node-port" } else { "service" };
    let go = || rule([Statement::Dnat(face.key_with(Field::Scratch), face.sticky_endpoints())]);
    let load_and_remember = |fields, map| {
        let remember =
            Statement::Remember { key: client, set: face.affinity(), timeout_seconds: seconds };
        rule([Statement::LoadScratch(fields, map), remember])
    };
    let recall = vec![
        // Refreshing one that is no longer live does no harm: it is forgotten below.
        load_and_remember(client.to_vec(), face.affinity()),
        go(),
        rule([Statement::Forget(client, face.affinity())]),
    ];
    let choose = vec![load_and_remember(face.key_with(Field::Scratch), face.sticky_slots()), go()];
    (
        plain(&format!("{RECALL}{kind}-{seconds}"), recall),
        plain(&format!("{CHOOSE}{kind}-{seconds}"), choose),
    )
}
