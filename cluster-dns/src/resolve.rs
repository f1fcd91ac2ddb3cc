//! One query's way: table first, upstream where the table says so. Never touches
//! a listening socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::Name;
use tracing::debug;

use crate::answer::{self, Outcome};
use crate::encode::{self, Transport};
use crate::forward::{ForwardError, Forwarder};
use crate::state::State;
use crate::zone;

/// Everything a query needs.
#[derive(Debug)]
pub struct Resolver {
    /// The cluster's names.
    pub state: Arc<State>,
    /// Everyone else's.
    pub forwarder: Forwarder,
    /// The cluster domain, fully qualified.
    pub domain: Name,
    /// Counts queries, to turn answers round.
    turn: AtomicUsize,
}

/// How far a query got without waiting.
#[derive(Debug)]
pub enum Step {
    /// Send this, or nothing.
    Done(Option<Vec<u8>>),
    /// Has to wait for an upstream: give it to [`Resolver::finish`].
    Wait(Box<Pending>),
}

/// A query that waits for an upstream.
#[derive(Debug)]
pub struct Pending {
    bytes: Vec<u8>,
    query: Message,
    transport: Transport,
    chase: Option<(Message, Name)>,
}

impl Resolver {
    /// A resolver for the names below `domain`.
    pub fn new(state: Arc<State>, forwarder: Forwarder, domain: Name) -> Self {
        Self {
            state,
            forwarder,
            domain,
            turn: AtomicUsize::new(0),
        }
    }

    /// Answers from the table, which never waits.
    pub fn begin(&self, bytes: &[u8], transport: Transport) -> Step {
        let Ok(query) = Message::from_vec(bytes) else {
            return Step::Done(encode::malformed(bytes));
        };
        // Answering a response could make two servers talk for ever.
        if query.metadata.message_type == MessageType::Response {
            return Step::Done(None);
        }
        if !self.state.is_ready() && self.is_ours(&query) {
            let reply = answer::respond(&query, ResponseCode::ServFail);
            return Step::Done(self.encode(reply, &query, transport));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let outcome = answer::answer(&query, &self.state.read(), &self.domain, turn);
        let chase = match outcome {
            Outcome::Reply(reply) => return Step::Done(self.encode(reply, &query, transport)),
            Outcome::Chase { reply, .. } if !self.forwarder.is_configured() => {
                return Step::Done(self.encode(reply, &query, transport));
            }
            Outcome::Chase { reply, target } => Some((reply, target)),
            Outcome::Forward => None,
        };
        let bytes = bytes.to_vec();
        Step::Wait(Box::new(Pending {
            bytes,
            query,
            transport,
            chase,
        }))
    }

    /// Asks upstream and gives the response.
    pub async fn finish(&self, pending: Box<Pending>) -> Option<Vec<u8>> {
        let Pending {
            chase,
            query,
            transport,
            bytes,
        } = *pending;
        match chase {
            Some((reply, target)) => {
                let reply = self.chase(reply, target, &query).await;
                self.encode(reply, &query, transport)
            }
            None => self.relay(&bytes, &query, transport).await,
        }
    }

    fn is_ours(&self, query: &Message) -> bool {
        query.queries.iter().any(|question| {
            self.domain.zone_of(&question.name) || zone::reverse_address(&question.name).is_some()
        })
    }

    fn encode(&self, mut reply: Message, query: &Message, by: Transport) -> Option<Vec<u8>> {
        reply.metadata.recursion_available = self.forwarder.is_configured();
        encode::encode(reply, by.limit_bytes(query))
    }

    async fn relay(&self, bytes: &[u8], query: &Message, by: Transport) -> Option<Vec<u8>> {
        let answered = self.forwarder.ask(bytes, by);
        let response = match answered.await {
            Ok(response) => response,
            Err(error) => {
                debug!("forwarding failed: {error}");
                let code = match error {
                    ForwardError::NoUpstream => ResponseCode::Refused,
                    _ => ResponseCode::ServFail,
                };
                let reply = answer::respond(query, code);
                return self.encode(reply, query, by);
            }
        };
        let limit_bytes = by.limit_bytes(query);
        if response.len() <= limit_bytes {
            // As it came: record types unknown here stay whole.
            return Some(response);
        }
        let reply = Message::from_vec(&response).unwrap_or_else(|_| {
            let mut reply = answer::respond(query, ResponseCode::NoError);
            reply.metadata.truncation = true;
            reply
        });
        encode::encode(reply, limit_bytes)
    }

    /// Adds what upstream says about an ExternalName's target. Without an
    /// answer the CNAME goes out alone, as from CoreDNS.
    async fn chase(&self, mut reply: Message, target: Name, query: &Message) -> Message {
        let Some(question) = query.queries.first() else {
            return reply;
        };
        let mut onward = Message::query();
        onward.metadata.recursion_desired = true;
        onward.add_query(Query::query(target, question.query_type));
        let Ok(bytes) = onward.to_vec() else {
            return reply;
        };
        match self.forwarder.ask(&bytes, Transport::Udp).await {
            Ok(response) => match Message::from_vec(&response) {
                Ok(response) => {
                    reply.add_answers(response.answers);
                }
                Err(error) => debug!("unreadable response from upstream: {error}"),
            },
            Err(error) => debug!("resolving an ExternalName failed: {error}"),
        }
        reply
    }
}
