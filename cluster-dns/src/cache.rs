//! Answers of other servers, for as long as they may be used again. Never holds an
//! answer about the cluster's own names: those come from the table.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::answer;

/// Responses kept at most, CoreDNS's default. Beyond that the ones that came first go.
pub const MAX_CACHED_RESPONSES: usize = 9984;
/// Longest use of a response unless told otherwise: `cache 30` of kubeadm's Corefile.
pub const DEFAULT_MAX_TTL_SECONDS: u32 = 30;

/// What a response depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Name,
    kind: RecordType,
    class: DNSClass,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    fn of(query: &Message) -> Option<Key> {
        let [question] = &query.queries[..] else {
            return None;
        };
        let edns = query.edns.as_ref();
        Some(Key {
            name: question.name.to_lowercase(),
            kind: question.query_type,
            class: question.query_class,
            dnssec_ok: edns.is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: query.metadata.checking_disabled,
        })
    }
}

#[derive(Clone, Debug)]
struct Entry {
    response: Message,
    since: Instant,
    ttl_seconds: u32,
}

/// Two generations: when the young one is full it becomes the old one, whose entries
/// go. Every operation costs the same whatever is in it.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
}

/// What a response in the cache says, as CoreDNS's metrics part them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Records.
    Success,
    /// That there is no such name, or no record of that type.
    Denial,
}

/// The cache; shared by all queries.
#[derive(Debug)]
pub struct Cache {
    generations: Mutex<Generations>,
    max_ttl_seconds: u32,
}

impl Cache {
    /// Keeps nothing longer than this; 0 keeps nothing at all.
    pub fn new(max_ttl_seconds: u32) -> Cache {
        Cache { generations: Mutex::default(), max_ttl_seconds }
    }

    /// The response to `query` with its TTLs as they are `now`.
    pub fn get(&self, query: &Message, now: Instant) -> Option<(Message, Said)> {
        let key = Key::of(query)?;
        let found = {
            let generations = self.lock();
            let entry = generations.young.get(&key);
            entry.or_else(|| generations.old.get(&key)).cloned()
        }?;
        let age = now.saturating_duration_since(found.since);
        if age >= Duration::from_secs(found.ttl_seconds.into()) {
            return None;
        }
        let said = said(&found.response);
        Some((revive(found.response, query, age.as_secs() as u32), said))
    }

    /// Keeps what an upstream said, if it says for how long.
    pub fn put(&self, query: &Message, response: &Message, now: Instant) {
        let ttl_seconds = usable_seconds(response).min(self.max_ttl_seconds);
        let Some(key) = Key::of(query).filter(|_| ttl_seconds > 0) else {
            return;
        };
        let mut response = response.clone();
        // Belongs to the connection it came by, not to the answer.
        response.edns = None;
        let entry = Entry { response, since: now, ttl_seconds };
        let mut generations = self.lock();
        if generations.young.len() >= MAX_CACHED_RESPONSES / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.old.remove(&key);
        generations.young.insert(key, entry);
    }

    /// How many responses are held, those that are too old among them.
    pub fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cached response as one to this query.
fn revive(cached: Message, query: &Message, age_seconds: u32) -> Message {
    let mut reply = answer::respond(query, cached.metadata.response_code);
    reply.metadata.authentic_data = cached.metadata.authentic_data;
    let older = |records: Vec<Record>| {
        let aged = records.into_iter().map(|mut record| {
            record.ttl = record.ttl.saturating_sub(age_seconds);
            record
        });
        aged.collect::<Vec<_>>()
    };
    reply.answers = older(cached.answers);
    reply.authorities = older(cached.authorities);
    reply.additionals = older(cached.additionals);
    reply
}

fn said(response: &Message) -> Said {
    if response.answers.is_empty() { Said::Denial } else { Said::Success }
}

/// For how long a response may be used: the least of its TTLs, and for a denial what
/// its SOA allows (RFC 2308); 0 for what is no whole answer.
fn usable_seconds(response: &Message) -> u32 {
    let code = response.metadata.response_code;
    let is_answer = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    if !is_answer || response.metadata.truncation {
        return 0;
    }
    if said(response) == Said::Denial {
        let limits = response.authorities.iter().filter_map(|record| {
            let RData::SOA(soa) = &record.data else {
                return None;
            };
            Some(record.ttl.min(soa.minimum))
        });
        return limits.min().unwrap_or(0);
    }
    let records = response.answers.iter().chain(&response.authorities);
    records.map(|record| record.ttl).min().unwrap_or(0)
}
