//! One rule, as data, and its text.

use std::fmt::Write;

use ipnet::IpNet;

use crate::routes::{Protocol, Target};

/// What the kernel's `comment` match holds.
const MAX_COMMENT: usize = 255;
/// A probability of one as the kernel's `statistic` match has it.
const CERTAIN: f64 = 2_147_483_648.0;

/// What a packet must be, and what happens to it then. All conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The source is in the network (`true`) or is not.
    pub source: Option<(bool, IpNet)>,
    /// The destination is in the network (`true`) or is not.
    pub destination: Option<(bool, IpNet)>,
    /// It came in by the interface (`true`) or by another; a `+` at the end of the name
    /// stands for any further characters.
    pub interface: Option<(bool, String)>,
    /// The transport protocol.
    pub protocol: Option<Protocol>,
    /// The destination's port; needs `protocol`.
    pub port: Option<u16>,
    /// For readers.
    pub comment: Option<String>,
    /// The connection's state.
    pub state: Option<State>,
    /// The source is one of the node's addresses (`true`) or is not.
    pub from_local: Option<bool>,
    /// The destination is one of the node's addresses.
    pub to_local: bool,
    /// Whether the packet's mark has these bits.
    pub marked: Option<(bool, u32)>,
    /// The list of clients of an endpoint.
    pub recent: Option<Recent>,
    /// By chance; `None`: always.
    pub chance: Option<Chance>,
    /// What happens; `None`: nothing, the rule is there to be read.
    pub action: Option<Action>,
}

/// Connection states that rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The first packet of a connection.
    New,
    /// Of no connection that is known.
    Invalid,
    /// Of a connection, or about one.
    RelatedOrEstablished,
}

impl State {
    /// All states that rules ask for.
    pub const ALL: [State; 3] = [State::New, State::Invalid, State::RelatedOrEstablished];

    /// The words after `--ctstate`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::New => "NEW",
            State::Invalid => "INVALID",
            State::RelatedOrEstablished => "RELATED,ESTABLISHED",
        }
    }
}

/// A list of clients in the kernel, by source address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recent {
    /// Puts the client into the list; always true.
    Set {
        /// The list's name.
        list: String,
    },
    /// Whether the client came within so many seconds. Older ones are forgotten.
    Check {
        /// The list's name.
        list: String,
        /// How long a client is remembered.
        seconds: u32,
    },
}

/// A probability in 2^-31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// One of `count`.
    pub fn one_of(count: usize) -> Chance {
        Chance::of(1.0 / count as f64)
    }

    /// A probability between 0 and 1.
    pub fn of(probability: f64) -> Chance {
        Chance((probability.clamp(0.0, 1.0) * CERTAIN).round() as u32)
    }

    /// The probability, between 0 and 1.
    pub fn probability(self) -> f64 {
        f64::from(self.0) / CERTAIN
    }
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes through another chain, and comes back where that has nothing to say.
    Jump(String),
    /// Back to the chain before.
    Return,
    /// No more rules of this table.
    Accept,
    /// Gone without a word.
    Drop,
    /// Refused with an ICMP message.
    Reject,
    /// Gets these bits into its mark.
    Mark(u32),
    /// Loses these bits of its mark, which it must have.
    Unmark(u32),
    /// Gets the node's address as its source.
    Masquerade,
    /// Goes to an endpoint.
    SendTo(Target),
}

impl Rule {
    /// A rule without conditions.
    pub fn always(action: Action) -> Rule {
        Rule { action: Some(action), ..Rule::default() }
    }

    /// A rule without conditions that leads to a chain.
    pub fn jump(chain: &str) -> Rule {
        Rule::always(Action::Jump(chain.to_owned()))
    }

    /// The same with a comment. Characters that would end the text are replaced, and what
    /// is too long is cut.
    pub fn comment(mut self, text: &str) -> Rule {
        let safe = text
            .chars()
            .map(|c| match c {
                '"' | '\\' | '\'' => '?',
                c if c.is_ascii_graphic() || c == ' ' => c,
                _ => '?',
            })
            .take(MAX_COMMENT);
        self.comment = Some(safe.collect());
        self
    }

    /// The same with another action.
    pub fn then(mut self, action: Action) -> Rule {
        self.action = Some(action);
        self
    }

    /// The rule in the notation of `iptables-save`, without the chain.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(160);
        let not = |is: bool| if is { "" } else { "! " };
        for (option, end) in [("-s", &self.source), ("-d", &self.destination)] {
            match end {
                // Any address: iptables shows no such condition.
                Some((true, network)) if network.prefix_len() == 0 => {}
                Some((is, network)) => {
                    let _ = write!(text, "{}{option} {network} ", not(*is));
                }
                None => {}
            }
        }
        if let Some((is, name)) = &self.interface {
            let _ = write!(text, "{}-i {name} ", not(*is));
        }
        if let Some(protocol) = self.protocol {
            let _ = write!(text, "-p {protocol} ");
        }
        if let Some(comment) = &self.comment {
            let _ = write!(text, "-m comment --comment \"{comment}\" ");
        }
        self.render_matches(&mut text);
        if let Some(protocol) = self.protocol {
            let _ = write!(text, "-m {protocol} ");
            if let Some(port) = self.port {
                let _ = write!(text, "--dport {port} ");
            }
        }
        if let Some(action) = &self.action {
            action.render(&mut text);
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn render_matches(&self, text: &mut String) {
        if let Some(state) = self.state {
            let _ = write!(text, "-m conntrack --ctstate {} ", state.as_str());
        }
        if self.from_local.is_some() || self.to_local {
            *text += "-m addrtype ";
        }
        match self.from_local {
            Some(true) => *text += "--src-type LOCAL ",
            Some(false) => *text += "! --src-type LOCAL ",
            None => {}
        }
        if self.to_local {
            *text += "--dst-type LOCAL ";
        }
        if let Some((is, bits)) = self.marked {
            let not = if is { "" } else { "! " };
            let _ = write!(text, "-m mark {not}--mark {bits:#x}/{bits:#x} ");
        }
        match &self.recent {
            Some(Recent::Set { list }) => {
                let _ = write!(text, "-m recent --set --name {list} --rsource ");
            }
            Some(Recent::Check { list, seconds }) => {
                let _ = write!(
                    text,
                    "-m recent --rcheck --seconds {seconds} --reap --name {list} --rsource "
                );
            }
            None => {}
        }
        if let Some(chance) = self.chance {
            let _ = write!(
                text,
                "-m statistic --mode random --probability {:.11} ",
                chance.probability()
            );
        }
    }
}

impl Action {
    fn render(&self, text: &mut String) {
        let _ = match self {
            Action::Jump(chain) => write!(text, "-j {chain}"),
            Action::Return => write!(text, "-j RETURN"),
            Action::Accept => write!(text, "-j ACCEPT"),
            Action::Drop => write!(text, "-j DROP"),
            Action::Reject => write!(text, "-j REJECT"),
            Action::Mark(bits) => write!(text, "-j MARK --set-xmark {bits:#x}/{bits:#x}"),
            Action::Unmark(bits) => write!(text, "-j MARK --set-xmark {bits:#x}/0x0"),
            Action::Masquerade => write!(text, "-j MASQUERADE --random-fully"),
            Action::SendTo(target) => {
                write!(text, "-j DNAT --to-destination {target}")
            }
        };
    }
}
