//! From a query and the table to a response: a pure function. Never waits, and
//! never forwards: it says when someone else has to be asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::records::{ServiceRecords, SrvTarget};
use crate::table::{Pointer, Table};
use crate::zone::{self, Below, Place};

/// Time to live of every record, and of a negative answer, in seconds: what
/// kubeadm's Corefile sets for CoreDNS.
pub const TTL_SECONDS: u32 = 30;
/// Largest UDP payload announced and sent: fits the smallest IPv6 path (DNS flag day 2020).
pub const MAX_UDP_PAYLOAD_BYTES: u16 = 1232;
/// The specification `dns-version` announces.
const DNS_VERSION: &str = "1.1.0";
/// Longest chain of ExternalName Services that is followed inside the cluster.
const MAX_CNAME_HOPS: usize = 8;

/// What to do with a query.
#[derive(Debug)]
pub enum Outcome {
    /// Send this.
    Reply(Message),
    /// A name that is not ours.
    Forward,
    /// An ExternalName: send this, with the target's records from upstream added where there is one.
    Chase {
        /// The response so far: the CNAMEs.
        reply: Message,
        /// The name outside the cluster.
        target: Name,
    },
}

/// Answers one query. `domain` is the cluster's; `turn` varies from query to
/// query, and turns the addresses of a response round so that clients that take
/// the first one spread.
pub fn answer(query: &Message, table: &Table, domain: &Name, turn: usize) -> Outcome {
    let question = match check(query) {
        Ok(question) => question,
        Err(code) => return Outcome::Reply(respond(query, code)),
    };
    let mut reply = respond(query, ResponseCode::NoError);
    if let Some(address) = zone::reverse_address(&question.name) {
        let pointers = table.reverse(address);
        if pointers.is_empty() {
            return Outcome::Forward;
        }
        reply.metadata.authoritative = true;
        if matches!(question.query_type, RecordType::PTR | RecordType::ANY) {
            let names = pointers.into_iter().map(|it| pointer_name(it, domain));
            let records = names.map(|name| record(&question.name, RData::PTR(PTR(name))));
            reply.add_answers(records.collect::<Vec<_>>());
        }
        return Outcome::Reply(reply);
    }
    let Some(place) = zone::locate(&question.name, domain) else {
        return Outcome::Forward;
    };
    reply.metadata.authoritative = true;
    let mut zone = Lookup { table, domain, turn, reply };
    zone.follow(question.name.clone(), place, question.query_type)
}

/// A response to `query` with this code, and EDNS where the query had it.
pub fn respond(query: &Message, code: ResponseCode) -> Message {
    let metadata = Metadata::response_from_request(&query.metadata);
    let mut reply = Message::response(metadata.id, metadata.op_code);
    reply.metadata = metadata;
    reply.metadata.response_code = code;
    reply.queries.clone_from(&query.queries);
    if let Some(edns) = &query.edns {
        let mut own = Edns::new();
        own.set_max_payload(MAX_UDP_PAYLOAD_BYTES);
        own.set_dnssec_ok(edns.flags().dnssec_ok);
        own.set_rcode_high(code.high());
        reply.set_edns(own);
    }
    reply
}

/// The query's one question, or the code that refuses what is no plain query.
fn check(query: &Message) -> Result<&Query, ResponseCode> {
    if query.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    let [question] = &query.queries[..] else {
        return Err(ResponseCode::FormErr);
    };
    let transfer = matches!(question.query_type, RecordType::AXFR | RecordType::IXFR);
    let class = matches!(question.query_class, DNSClass::IN | DNSClass::ANY);
    if transfer || !class {
        return Err(ResponseCode::Refused);
    }
    Ok(question)
}

struct Lookup<'a> {
    table: &'a Table,
    domain: &'a Name,
    turn: usize,
    reply: Message,
}

impl Lookup<'_> {
    fn follow(&mut self, name: Name, place: Place, kind: RecordType) -> Outcome {
        let mut name = name;
        let mut place = place;
        for _ in 0..MAX_CNAME_HOPS {
            let Some(target) = self.alias(&place) else {
                self.resolve(&name, &place, kind);
                return Outcome::Reply(self.take());
            };
            let alias = record(&name, RData::CNAME(CNAME(target.clone())));
            self.reply.add_answer(alias);
            if matches!(kind, RecordType::CNAME | RecordType::ANY) {
                return Outcome::Reply(self.take());
            }
            match zone::locate(&target, self.domain) {
                None => {
                    let reply = self.take();
                    return Outcome::Chase { reply, target };
                }
                Some(next) => (name, place) = (target, next),
            }
        }
        // Services that name each other in a ring.
        self.reply.answers.clear();
        self.reply.metadata.response_code = ResponseCode::ServFail;
        Outcome::Reply(self.take())
    }

    fn take(&mut self) -> Message {
        let empty = Message::response(0, OpCode::Query);
        std::mem::replace(&mut self.reply, empty)
    }

    fn alias(&self, place: &Place) -> Option<Name> {
        let Place::Service { namespace, name, below: Below::Own } = place else {
            return None;
        };
        let records = self.table.service(namespace, name)?;
        records.canonical_name.clone()
    }

    fn resolve(&mut self, name: &Name, place: &Place, kind: RecordType) {
        let before = self.reply.answers.len();
        let exists = match place {
            Place::Apex => self.apex(name, kind),
            Place::Branch => true,
            Place::DnsVersion => {
                let version = RData::TXT(TXT::new(vec![DNS_VERSION.to_owned()]));
                self.add(name, version, kind);
                true
            }
            Place::NameServer => {
                if let Some(dns) = self.table.service("kube-system", "kube-dns") {
                    self.addresses(name, &dns.addresses, kind);
                }
                true
            }
            Place::Namespace(namespace) => self.table.has_namespace(namespace),
            Place::Pod(address) => {
                self.addresses(name, &BTreeSet::from([*address]), kind);
                true
            }
            Place::Nothing => false,
            Place::Service { namespace, name: service, below } => {
                match self.table.service(namespace, service) {
                    None => false,
                    Some(records) => self.service(
                        name,
                        &name_of(self.domain, namespace, service),
                        records,
                        below,
                        kind,
                    ),
                }
            }
        };
        if !exists {
            self.reply.metadata.response_code = ResponseCode::NXDomain;
        }
        if self.reply.answers.len() == before {
            let soa = record(self.domain, self.soa());
            self.reply.add_authority(soa);
        }
    }

    fn service(
        &mut self,
        name: &Name,
        own: &Name,
        records: &ServiceRecords,
        below: &Below,
        kind: RecordType,
    ) -> bool {
        match below {
            Below::Own => {
                self.addresses(name, &records.addresses, kind);
                if kind == RecordType::SRV {
                    let targets = records.ports.values().flatten();
                    self.srv(name, own, records, targets.collect());
                }
                true
            }
            Below::Hostname(hostname) => match records.hostnames.get(hostname) {
                None => false,
                Some(addresses) => {
                    self.addresses(name, addresses, kind);
                    true
                }
            },
            // The names of ports below it make this name exist, without records.
            Below::Protocol(protocol) => {
                let mut named = records.ports.keys();
                named.any(|(it, port)| it == protocol && !port.is_empty())
            }
            Below::Port(port, protocol) => {
                let key = (protocol.clone(), port.clone());
                let found = records.ports.get(&key).filter(|_| !port.is_empty());
                if let Some(targets) = found
                    && matches!(kind, RecordType::SRV | RecordType::ANY)
                {
                    self.srv(name, own, records, targets.iter().collect());
                }
                found.is_some()
            }
        }
    }

    fn apex(&mut self, name: &Name, kind: RecordType) -> bool {
        self.add(name, self.soa(), kind);
        if let Ok(server) = self.domain.prepend_label("dns").and_then(|it| it.prepend_label("ns")) {
            self.add(name, RData::NS(NS(server)), kind);
        }
        true
    }

    fn soa(&self) -> RData {
        let below = |label: &str| self.domain.prepend_label(label);
        let server = below("dns").and_then(|it| it.prepend_label("ns"));
        let mailbox = below("hostmaster");
        // Secondary servers' timers as CoreDNS gives them: nobody transfers this zone.
        RData::SOA(SOA::new(
            server.unwrap_or_else(|_| self.domain.clone()),
            mailbox.unwrap_or_else(|_| self.domain.clone()),
            self.table.serial(),
            7200,
            1800,
            86400,
            TTL_SECONDS,
        ))
    }

    fn add(&mut self, name: &Name, data: RData, kind: RecordType) {
        if kind == RecordType::ANY || data.record_type() == kind {
            self.reply.add_answer(record(name, data));
        }
    }

    fn addresses(&mut self, name: &Name, addresses: &BTreeSet<IpAddr>, kind: RecordType) {
        let wanted = addresses.iter().map(|it| address_data(*it));
        let mut wanted: Vec<_> =
            wanted.filter(|data| kind == RecordType::ANY || data.record_type() == kind).collect();
        if !wanted.is_empty() {
            let middle = self.turn % wanted.len();
            wanted.rotate_left(middle);
        }
        let records = wanted.into_iter().map(|data| record(name, data));
        self.reply.add_answers(records.collect::<Vec<_>>());
    }

    fn srv(&mut self, name: &Name, own: &Name, records: &ServiceRecords, targets: Vec<&SrvTarget>) {
        // CoreDNS shares a weight of 100 among the targets of one name.
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(0).max(1);
        let mut extra = BTreeSet::new();
        for target in targets {
            let below = target.hostname.as_deref();
            let Some(host) = below.map_or(Some(own.clone()), |it| own.prepend_label(it).ok())
            else {
                continue;
            };
            let data = SRV::new(0, weight, target.port, host.clone());
            self.reply.add_answer(record(name, RData::SRV(data)));
            let addresses = match below {
                None => Some(&records.addresses),
                Some(hostname) => records.hostnames.get(hostname),
            };
            for address in addresses.into_iter().flatten() {
                if extra.insert((host.clone(), *address)) {
                    self.reply.add_additional(record(&host, address_data(*address)));
                }
            }
        }
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

/// `SERVICE.NAMESPACE.svc.DOMAIN.`
///
/// A name that would be too long gives the domain: the API bounds both parts well below that.
fn name_of(domain: &Name, namespace: &str, service: &str) -> Name {
    let name = domain.prepend_label("svc");
    let name = name.and_then(|it| it.prepend_label(namespace));
    let name = name.and_then(|it| it.prepend_label(service));
    name.unwrap_or_else(|_| domain.clone())
}

fn pointer_name(pointer: &Pointer, domain: &Name) -> Name {
    let own = name_of(domain, &pointer.namespace, &pointer.service);
    match &pointer.hostname {
        None => own,
        Some(hostname) => own.prepend_label(hostname.as_str()).unwrap_or(own),
    }
}
