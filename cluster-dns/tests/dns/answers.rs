//! What is answered, as text: `TYPE NAME => ANSWERS`. Never opens a socket.

use cluster_dns::answer::{Outcome, TTL_SECONDS, answer};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::world::{domain, table};

const CLUSTER: &str = "
    svc default/web      10.96.0.20 http:80/tcp dns:53/udp :9090/tcp
    eps default/web-1    web 10.244.1.2 10.244.2.2! http:8080/tcp
    svc default/dual     10.96.0.30 fd00::30 http:80/tcp
    svc default/db       None sql:5432/tcp
    eps default/db-1     db 10.244.1.7/a 10.244.1.8 10.244.1.9/c! sql:5432/tcp
    eps default/db-2     db 10.244.2.7/b sql:5432/tcp
    svc default/boot     None notready
    eps default/boot-1   boot 10.244.1.7/x!
    svc default/empty    None
    eps default/empty-1  empty 10.244.1.6!
    svc default/out      external=example.com
    svc default/inner    external=web.default.svc.cluster.local
    svc default/ring     external=ring.default.svc.cluster.local.
    svc default/digits   external=192.0.2.1
    svc kube-system/kube-dns 10.96.0.10 dns:53/udp dns-tcp:53/tcp
    eps default/lonely-1 lonely 10.244.3.1
";

fn query(kind: &str, name: &str) -> Message {
    let mut query = Message::query();
    let name = Name::from_ascii(name).unwrap();
    query.add_query(Query::query(name, kind.parse().unwrap()));
    query
}

/// The response in one line: codes, then the answers without name and TTL.
fn show(query: &Message, turn: usize) -> String {
    let (prefix, reply) = match answer(query, &table(CLUSTER), &domain(), turn) {
        Outcome::Forward => return "forward".to_owned(),
        Outcome::Reply(reply) => (String::new(), reply),
        Outcome::Chase { reply, target } => (format!("ask {target} and "), reply),
    };
    assert_eq!(reply.metadata.id, query.metadata.id);
    let records = reply.answers.iter().chain(&reply.authorities);
    for record in records {
        assert_eq!(record.ttl, TTL_SECONDS, "{record}");
    }
    let mut said: Vec<_> = reply
        .answers
        .iter()
        .map(|record| format!("{} {}", record.record_type(), record.data))
        .collect();
    if said.is_empty() {
        let code = match reply.metadata.response_code {
            ResponseCode::NoError => "NODATA".to_owned(),
            ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
            other => format!("{other:?}"),
        };
        said.push(code);
        if let [soa] = &reply.authorities[..] {
            assert_eq!(soa.name, domain());
            assert_eq!(soa.record_type(), RecordType::SOA);
            said.push("SOA".to_owned());
        }
    }
    if reply.metadata.authoritative {
        said.push("aa".to_owned());
    }
    prefix + &said.join(", ")
}

fn check(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (asked, expected) = line.split_once(" => ").expect(line);
        let (kind, name) = asked.split_once(' ').expect(line);
        let seen = show(&query(kind, name), 0);
        assert_eq!(seen, expected, "for `{asked}`");
    }
}

#[test]
fn a_service_is_its_cluster_ips() {
    check(
        "A web.default.svc.cluster.local. => A 10.96.0.20, aa
         A WEB.Default.SVC.cluster.LOCAL. => A 10.96.0.20, aa
         AAAA web.default.svc.cluster.local. => NODATA, SOA, aa
         TXT web.default.svc.cluster.local. => NODATA, SOA, aa
         A dual.default.svc.cluster.local. => A 10.96.0.30, aa
         AAAA dual.default.svc.cluster.local. => AAAA fd00::30, aa
         A kube-dns.kube-system.svc.cluster.local. => A 10.96.0.10, aa",
    );
}

#[test]
fn a_headless_service_is_its_ready_endpoints() {
    check(
        "A db.default.svc.cluster.local. => A 10.244.1.7, A 10.244.1.8, A 10.244.2.7, aa
         A a.db.default.svc.cluster.local. => A 10.244.1.7, aa
         A b.db.default.svc.cluster.local. => A 10.244.2.7, aa
         A c.db.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A 10-244-1-8.db.default.svc.cluster.local. => A 10.244.1.8, aa
         AAAA a.db.default.svc.cluster.local. => NODATA, SOA, aa
         A x.a.db.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A boot.default.svc.cluster.local. => A 10.244.1.7, aa
         A empty.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A 10-244-1-2.web.default.svc.cluster.local. => A 10.244.1.2, aa
         A 10-244-2-2.web.default.svc.cluster.local. => NXDOMAIN, SOA, aa",
    );
}

#[test]
fn names_that_are_not_there() {
    check(
        "A nope.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A web.other.svc.cluster.local. => NXDOMAIN, SOA, aa
         A lonely.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A digits.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A other.svc.cluster.local. => NXDOMAIN, SOA, aa
         A default.svc.cluster.local. => NODATA, SOA, aa
         A svc.cluster.local. => NODATA, SOA, aa
         A pod.cluster.local. => NODATA, SOA, aa
         A cluster.local. => NODATA, SOA, aa
         A web.default.cluster.local. => NXDOMAIN, SOA, aa
         A web\\.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A web.default.svc.cluster.local.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A notcluster.local. => forward
         A example.com. => forward
         A local. => forward
         A . => forward",
    );
}

#[test]
fn an_external_name_is_an_alias() {
    check(
        "A out.default.svc.cluster.local. => ask example.com. and CNAME example.com., aa
         AAAA out.default.svc.cluster.local. => ask example.com. and CNAME example.com., aa
         CNAME out.default.svc.cluster.local. => CNAME example.com., aa
         A inner.default.svc.cluster.local. => CNAME web.default.svc.cluster.local., A 10.96.0.20, aa
         AAAA inner.default.svc.cluster.local. => CNAME web.default.svc.cluster.local., aa
         A ring.default.svc.cluster.local. => ServFail, aa
         A x.out.default.svc.cluster.local. => NXDOMAIN, SOA, aa",
    );
}

#[test]
fn ports_have_srv_names() {
    check(
        "SRV _http._tcp.web.default.svc.cluster.local. => SRV 0 100 80 web.default.svc.cluster.local., aa
         SRV _dns._udp.web.default.svc.cluster.local. => SRV 0 100 53 web.default.svc.cluster.local., aa
         SRV _HTTP._TCP.web.default.svc.cluster.local. => SRV 0 100 80 web.default.svc.cluster.local., aa
         SRV _http._udp.web.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         SRV _._tcp.web.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         A _http._tcp.web.default.svc.cluster.local. => NODATA, SOA, aa
         A _tcp.web.default.svc.cluster.local. => NODATA, SOA, aa
         A _sctp.web.default.svc.cluster.local. => NXDOMAIN, SOA, aa
         SRV _sql._tcp.db.default.svc.cluster.local. => SRV 0 33 5432 10-244-1-8.db.default.svc.cluster.local., SRV 0 33 5432 a.db.default.svc.cluster.local., SRV 0 33 5432 b.db.default.svc.cluster.local., aa",
    );
}

#[test]
fn srv_brings_its_targets_addresses() {
    let asked = query("SRV", "_sql._tcp.db.default.svc.cluster.local.");
    let Outcome::Reply(reply) = answer(&asked, &table(CLUSTER), &domain(), 0) else {
        panic!("not answered from the table");
    };
    let extra: Vec<_> = reply.additionals.iter().map(ToString::to_string).collect();
    let expected = "a.db.default.svc.cluster.local. 30 IN A 10.244.1.7";
    assert_eq!(extra.len(), 3);
    assert!(extra.iter().any(|it| it == expected), "{extra:#?}");
}

#[test]
fn addresses_point_back() {
    check(
        "PTR 20.0.96.10.in-addr.arpa. => PTR web.default.svc.cluster.local., aa
         PTR 8.1.244.10.in-addr.arpa. => PTR 10-244-1-8.db.default.svc.cluster.local., aa
         PTR 7.1.244.10.in-addr.arpa. => PTR x.boot.default.svc.cluster.local., PTR a.db.default.svc.cluster.local., aa
         A 20.0.96.10.in-addr.arpa. => NODATA, aa
         PTR 9.1.244.10.in-addr.arpa. => forward
         PTR 1.0.96.10.in-addr.arpa. => forward",
    );
}

#[test]
fn the_zone_itself() {
    check(
        "NS cluster.local. => NS ns.dns.cluster.local., aa
         SOA cluster.local. => SOA ns.dns.cluster.local. hostmaster.cluster.local. 11 7200 1800 86400 30, aa
         A ns.dns.cluster.local. => A 10.96.0.10, aa
         TXT dns-version.cluster.local. => TXT 1.1.0, aa
         A dns-version.cluster.local. => NODATA, SOA, aa
         A 10-244-1-3.default.pod.cluster.local. => A 10.244.1.3, aa
         A web.default.pod.cluster.local. => NXDOMAIN, SOA, aa
         A default.pod.cluster.local. => NODATA, SOA, aa",
    );
}

#[test]
fn addresses_take_turns_at_being_first() {
    let asked = query("A", "db.default.svc.cluster.local.");
    let second = "A 10.244.1.8, A 10.244.2.7, A 10.244.1.7, aa";
    assert_eq!(show(&asked, 1), second);
    assert_ne!(show(&asked, 2), second);
}

#[test]
fn what_is_no_plain_query_is_refused() {
    assert_eq!(show(&query("AXFR", "cluster.local."), 0), "Refused");
    let mut chaos = query("TXT", "version.bind.");
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(show(&chaos, 0), "Refused");
    let mut none = query("A", "cluster.local.");
    none.queries.clear();
    assert_eq!(show(&none, 0), "FormErr");
    let mut newer = query("A", "web.default.svc.cluster.local.");
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    assert_eq!(show(&newer, 0), "BADVERS");
}

#[test]
fn edns_is_answered_with_edns() {
    let mut asked = query("A", "web.default.svc.cluster.local.");
    let plain = answer(&asked, &table(CLUSTER), &domain(), 0);
    assert!(matches!(plain, Outcome::Reply(reply) if reply.edns.is_none()));
    asked.set_edns(Edns::new());
    let extended = answer(&asked, &table(CLUSTER), &domain(), 0);
    assert!(matches!(extended, Outcome::Reply(reply) if reply.edns.is_some()));
}
