//! One query's way: table first, then cache and upstream where the table says so.
//! Never touches a listening socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::Name;
use tracing::debug;

use crate::answer::{self, Outcome};
use crate::cache::Cache;
use crate::encode::{self, Transport};
use crate::forward::{ForwardError, Forwards};
use crate::metrics::{Begun, Metrics};
use crate::state::State;
use crate::zone;

/// Everything a query needs.
#[derive(Debug)]
pub struct Resolver {
    /// The cluster's names.
    pub state: Arc<State>,
    /// Who knows everyone else's.
    pub forwards: Forwards,
    /// What they said lately.
    pub cache: Cache,
    /// What is counted.
    pub metrics: Arc<Metrics>,
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
    begun: Begun,
}

impl Resolver {
    /// A resolver for the names below `domain`.
    pub fn new(
        state: Arc<State>,
        forwards: Forwards,
        cache: Cache,
        metrics: Arc<Metrics>,
        domain: Name,
    ) -> Self {
        Self { state, forwards, cache, metrics, domain, turn: AtomicUsize::new(0) }
    }

    /// Answers from the table or the cache, which never waits.
    pub fn begin(&self, bytes: &[u8], transport: Transport) -> Step {
        let Ok(query) = Message::from_vec(bytes) else {
            return Step::Done(encode::malformed(bytes));
        };
        // Answering a response could make two servers talk for ever.
        if query.metadata.message_type == MessageType::Response {
            return Step::Done(None);
        }
        let is_ours = self.is_ours(&query);
        let begun = self.metrics.begin(&query, is_ours, transport);
        let done = |reply| Step::Done(self.encode(reply, &query, transport, begun));
        if !self.state.is_ready() && is_ours {
            return done(answer::respond(&query, ResponseCode::ServFail));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let outcome = answer::answer(&query, &self.state.read(), &self.domain, turn);
        let chase = match outcome {
            Outcome::Reply(reply) => return done(reply),
            Outcome::Chase { reply, target } => {
                if !self.forwards.for_name(&target).is_configured() {
                    return done(reply);
                }
                Some((reply, target))
            }
            Outcome::Forward => {
                let cached = self.cache.get(&query, Instant::now());
                self.metrics.cache(cached.as_ref().map(|(_, said)| *said));
                if let Some((reply, _)) = cached {
                    return done(reply);
                }
                None
            }
        };
        let bytes = bytes.to_vec();
        Step::Wait(Box::new(Pending { bytes, query, transport, chase, begun }))
    }

    /// Asks upstream and gives the response.
    pub async fn finish(&self, pending: Box<Pending>) -> Option<Vec<u8>> {
        let Pending { chase, query, transport, bytes, begun } = *pending;
        match chase {
            Some((reply, target)) => {
                let reply = self.chase(reply, target, &query).await;
                self.encode(reply, &query, transport, begun)
            }
            None => self.relay(&bytes, &query, transport, begun).await,
        }
    }

    fn is_ours(&self, query: &Message) -> bool {
        query.queries.iter().any(|question| {
            self.domain.zone_of(&question.name) || zone::reverse_address(&question.name).is_some()
        })
    }

    fn encode(
        &self,
        mut reply: Message,
        query: &Message,
        by: Transport,
        begun: Begun,
    ) -> Option<Vec<u8>> {
        reply.metadata.recursion_available = self.forwards.is_configured();
        let code = reply.metadata.response_code;
        let bytes = encode::encode(reply, by.limit_bytes(query));
        self.metrics.end(begun, code);
        bytes
    }

    async fn relay(
        &self,
        bytes: &[u8],
        query: &Message,
        by: Transport,
        begun: Begun,
    ) -> Option<Vec<u8>> {
        let forwarder = match query.queries.first() {
            Some(question) => self.forwards.for_name(&question.name),
            None => return None,
        };
        let response = match forwarder.ask(bytes, by).await {
            Ok(response) => response,
            Err(error) => {
                let code = self.code_for(&error);
                return self.encode(answer::respond(query, code), query, by, begun);
            }
        };
        let read = Message::from_vec(&response).ok();
        if let Some(message) = &read {
            self.cache.put(query, message, Instant::now());
            self.metrics.cached(self.cache.len());
        }
        let code = read.as_ref().map(|message| message.metadata.response_code);
        self.metrics.end(begun, code.unwrap_or(ResponseCode::NoError));
        let limit_bytes = by.limit_bytes(query);
        if response.len() <= limit_bytes {
            // As it came: record types unknown here stay whole.
            return Some(response);
        }
        let reply = read.unwrap_or_else(|| {
            let mut reply = answer::respond(query, ResponseCode::NoError);
            reply.metadata.truncation = true;
            reply
        });
        encode::encode(reply, limit_bytes)
    }

    fn code_for(&self, error: &ForwardError) -> ResponseCode {
        debug!("forwarding failed: {error}");
        match error {
            ForwardError::NoUpstream => ResponseCode::Refused,
            ForwardError::Busy => {
                self.metrics.rejected.inc();
                ResponseCode::ServFail
            }
            _ => ResponseCode::ServFail,
        }
    }

    /// Adds what upstream says about an ExternalName's target. Without an
    /// answer the CNAME goes out alone, as from CoreDNS.
    async fn chase(&self, mut reply: Message, target: Name, query: &Message) -> Message {
        let Some(question) = query.queries.first() else {
            return reply;
        };
        let forwarder = self.forwards.for_name(&target);
        let mut onward = Message::query();
        onward.metadata.recursion_desired = true;
        onward.add_query(Query::query(target.clone(), question.query_type));
        let cached = self.cache.get(&onward, Instant::now());
        self.metrics.cache(cached.as_ref().map(|(_, said)| *said));
        if let Some((response, _)) = cached {
            reply.add_answers(response.answers);
            return reply;
        }
        let Ok(bytes) = onward.to_vec() else {
            return reply;
        };
        match forwarder.ask(&bytes, Transport::Udp).await {
            Ok(response) => match Message::from_vec(&response) {
                Ok(response) => {
                    self.cache.put(&onward, &response, Instant::now());
                    self.metrics.cached(self.cache.len());
                    reply.add_answers(response.answers);
                }
                Err(error) => debug!("unreadable response from upstream: {error}"),
            },
            Err(error) => {
                self.code_for(&error);
            }
        }
        reply
    }
}
