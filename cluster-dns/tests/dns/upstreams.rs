//! Names of others: the cache by a clock of the test's own, stub domains and metrics
//! over sockets. Never sends anything beyond 127.0.0.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cluster_dns::cache::{Cache, MAX_CACHED_RESPONSES};
use cluster_dns::forward::{Forwards, StubDomain, Upstream};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use crate::sockets::{ask, data, start_with};

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn query(text: &str) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(name(text), RecordType::A));
    query
}

fn address(owner: &str, ttl: u32) -> Record {
    let data = RData::A(A::new(192, 0, 2, 7));
    Record::from_rdata(name(owner), ttl, data)
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.org."), name("root.org."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name("org."), ttl, RData::SOA(soa))
}

/// A response of `code` with these answers and authorities.
fn response(
    query: &Message,
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.response_code = code;
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&query.queries);
    reply.answers = answers;
    reply.authorities = authorities;
    reply
}

/// For how many whole seconds the cache gives a response back.
fn kept_seconds(cache: &Cache, query: &Message, response: &Message) -> u64 {
    let begin = Instant::now();
    cache.put(query, response, begin);
    let is_there = |seconds| {
        let now = begin + Duration::from_secs(seconds);
        cache.get(query, now).is_some()
    };
    (0..100).find(|seconds| !is_there(*seconds)).unwrap_or(100)
}

#[test]
fn a_response_is_kept_as_long_as_it_says_and_no_longer_than_allowed() {
    let asked = query("www.example.org.");
    let records = |ttl| vec![address("www.example.org.", ttl)];
    let (ok, no_name) = (ResponseCode::NoError, ResponseCode::NXDomain);
    let cases = [
        ("its TTL", ok, records(5), vec![], 5),
        ("at most what is allowed", ok, records(3600), vec![], 30),
        ("the least of its TTLs", ok, [records(9), records(4)].concat(), vec![], 4),
        ("not at all", ok, records(0), vec![], 0),
        ("a denial by its SOA's minimum", no_name, vec![], vec![soa(60, 7)], 7),
        ("a denial by its SOA's TTL", no_name, vec![], vec![soa(6, 60)], 6),
        ("no data as well", ok, vec![], vec![soa(60, 8)], 8),
        ("a denial without SOA never", no_name, vec![], vec![], 0),
        ("a failure never", ResponseCode::ServFail, records(5), vec![], 0),
    ];
    for (what, code, answers, authorities, expected) in cases {
        let reply = response(&asked, code, answers, authorities);
        let kept = kept_seconds(&Cache::new(30), &asked, &reply);
        assert_eq!(kept, expected, "{what}");
    }
    let mut cut = response(&asked, ok, records(5), vec![]);
    cut.metadata.truncation = true;
    assert_eq!(kept_seconds(&Cache::new(30), &asked, &cut), 0);
    let whole = response(&asked, ok, records(5), vec![]);
    assert_eq!(kept_seconds(&Cache::new(0), &asked, &whole), 0);
}

#[test]
fn a_cached_response_fits_the_query_that_finds_it() {
    let cache = Cache::new(30);
    let asked = query("www.example.org.");
    let records = vec![address("www.example.org.", 20)];
    let begin = Instant::now();
    let reply = response(&asked, ResponseCode::NoError, records, vec![]);
    cache.put(&asked, &reply, begin);

    let mut again = query("WWW.example.ORG.");
    again.metadata.id = asked.metadata.id.wrapping_add(1);
    again.set_edns(Edns::new());
    let later = begin + Duration::from_secs(12);
    let (found, _) = cache.get(&again, later).expect("the same name");
    assert_eq!(found.metadata.id, again.metadata.id);
    assert_eq!(found.queries, again.queries);
    assert_eq!(found.answers[0].ttl, 8, "what is left of the TTL");
    assert!(found.edns.is_some(), "EDNS to who asked with it");

    let mut signed = query("www.example.org.");
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    signed.set_edns(edns);
    assert!(cache.get(&signed, later).is_none(), "signatures are missing");
    let mut other = query("www.example.org.");
    other.queries[0].query_type = RecordType::AAAA;
    assert!(cache.get(&other, later).is_none());
}

#[test]
fn the_cache_is_bounded_and_keeps_the_newest() {
    let cache = Cache::new(30);
    let now = Instant::now();
    let count = 3 * MAX_CACHED_RESPONSES;
    for index in 0..count {
        let asked = query(&format!("n{index}.example.org."));
        let records = vec![address("n.example.org.", 30)];
        cache.put(&asked, &response(&asked, ResponseCode::NoError, records, vec![]), now);
        assert!(cache.len() <= MAX_CACHED_RESPONSES);
    }
    let found = |index: usize| {
        let asked = query(&format!("n{index}.example.org."));
        cache.get(&asked, now).is_some()
    };
    assert!(found(count - 1) && !found(0));
}

/// A resolver that answers with its own number, and how often it was asked.
async fn upstream(last: u8) -> (Upstream, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("bound");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            counter.fetch_add(1, Ordering::SeqCst);
            let query = Message::from_vec(&buffer[..length]).expect("a query");
            let owner = query.queries[0].name.clone();
            let data = RData::A(A::new(192, 0, 2, last));
            let records = vec![Record::from_rdata(owner, 60, data)];
            let reply = response(&query, ResponseCode::NoError, records, vec![]);
            let bytes = reply.to_vec().expect("encodes");
            socket.send_to(&bytes, client).await.expect("sent");
        }
    });
    (Upstream::Address(address), asked)
}

#[tokio::test]
async fn a_stub_domain_has_resolvers_of_its_own() {
    let (others, _) = upstream(1).await;
    let (corp, _) = upstream(2).await;
    let (lab, _) = upstream(3).await;
    let stub = |text: &str, upstream: &Upstream| -> StubDomain {
        format!("{text}={upstream}").parse().expect("a stub domain")
    };
    let stubs = vec![stub("corp.example", &corp), stub("Lab.corp.example.", &lab)];
    let forwards = Forwards::new(vec![others], stubs);
    let (server, _) = start_with("svc default/x external=db.corp.example", forwards, true).await;
    for (asked, expected) in [
        ("www.example.org.", "192.0.2.1"),
        ("notcorp.example.", "192.0.2.1"),
        ("corp.example.", "192.0.2.2"),
        ("a.b.CORP.example.", "192.0.2.2"),
        ("a.lab.corp.example.", "192.0.2.3"),
    ] {
        let reply = ask(server, RecordType::A, asked).await;
        assert_eq!(data(&reply), [expected], "{asked}");
    }
    let alias = ask(server, RecordType::A, "x.default.svc.cluster.local.").await;
    assert_eq!(data(&alias), ["db.corp.example.", "192.0.2.2"]);
}

#[test]
fn stub_domains_that_cannot_be_read_say_why() {
    for (text, said) in [
        ("corp.example", "is not DOMAIN=UPSTREAM"),
        (".=127.0.0.1", "must have a name"),
        ("corp.example=", "neither IP, IP:PORT nor unix:PATH"),
        ("corp.example=127.0.0.1,nobody", "`nobody` is neither"),
    ] {
        let error = text.parse::<StubDomain>().expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[tokio::test]
async fn an_upstream_is_asked_once_and_metrics_tell() {
    let (one, asked) = upstream(1).await;
    let forwards = Forwards::new(vec![one], vec![]);
    let (server, metrics) =
        start_with("svc default/web 10.96.0.20 http:80/tcp", forwards, true).await;
    for _ in 0..3 {
        let reply = ask(server, RecordType::A, "www.example.org.").await;
        assert_eq!(data(&reply), ["192.0.2.1"]);
        assert!(reply.metadata.recursion_available);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    ask(server, RecordType::A, "web.default.svc.cluster.local.").await;
    ask(server, RecordType::A, "no.default.svc.cluster.local.").await;
    ask(server, RecordType::Unknown(4711), "www.example.org.").await;
    let text = metrics.render();
    for line in [
        "coredns_dns_requests_total{zone=\".\",proto=\"udp\",type=\"A\"} 3",
        "coredns_dns_requests_total{zone=\"cluster.local.\",proto=\"udp\",type=\"A\"} 2",
        "coredns_dns_requests_total{zone=\".\",proto=\"udp\",type=\"other\"} 1",
        "coredns_dns_responses_total{zone=\"cluster.local.\",rcode=\"NXDOMAIN\"} 1",
        "coredns_dns_responses_total{zone=\"cluster.local.\",rcode=\"NOERROR\"} 1",
        "coredns_dns_request_duration_seconds_count{zone=\"cluster.local.\"} 2",
        "coredns_cache_hits_total{type=\"success\"} 2",
        "coredns_cache_misses_total 2",
        "coredns_cache_entries 2",
        "coredns_forward_max_concurrent_rejects_total 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\nis not in\n{text}");
    }
}
