//! The rules as text, so that a change of them is seen in review. The notation is that of
//! `iptables-save`; names, comments and order are upstream's.

use proxy_agent::mode::iptables::render;
use proxy_agent::settings::Settings;

use super::super::{objects, table};

/// The rules of chains that are not always the same.
fn rules(settings: &Settings, text: &str) -> String {
    let mut catalog = table::catalog_of(objects::changes(text));
    catalog.take_dirty();
    let all = render(settings, &catalog);
    let none = render(settings, &table::catalog_of(Vec::new()));
    let constant: Vec<&str> = none.lines().filter(|line| line.starts_with("-A")).collect();
    let mut lines: Vec<&str> = Vec::new();
    for line in all.lines() {
        let is_table = line.starts_with('*');
        if is_table || line.starts_with("-A") && !constant.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn check(text: &str, expected: &str) {
    let lines = expected.lines().map(str::trim).filter(|line| !line.is_empty());
    let expected: Vec<&str> = lines.collect();
    assert_eq!(rules(&table::settings(), text), expected.join("\n"));
}

#[test]
fn four_endpoints_share_by_a_quarter_a_third_a_half_and_the_rest() {
    check(
        "svc web 10.96.0.41 80/tcp
         ep web 10.244.1.5:8080 node-1
         ep web 10.244.1.6:8080 node-1
         ep web 10.244.2.5:8080 node-2
         ep web 10.244.2.6:8080 node-2",
        r#"*filter
            -A KUBE-SERVICES -d 10.96.0.41/32 -m comment --comment "no such port of a cluster IP" -j REJECT
            *nat
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -s 10.244.2.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.2.5:8080
            -A KUBE-SEP-GSGFIMZKNHLNTAQH -s 10.244.2.6/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-GSGFIMZKNHLNTAQH -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.2.6:8080
            -A KUBE-SEP-XIQG3E4ATGAKTZVT -s 10.244.1.6/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-XIQG3E4ATGAKTZVT -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.1.6:8080
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -s 10.244.1.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.1.5:8080
            -A KUBE-SERVICES -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-LOLE4ISW44XBNF3G
            -A KUBE-SVC-LOLE4ISW44XBNF3G ! -s 10.244.0.0/16 -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -m statistic --mode random --probability 0.25000000000 -j KUBE-SEP-XQWD6PXGZUTOOIVQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.6:8080" -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-XIQG3E4ATGAKTZVT
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.2.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-CBTFKNOSRCMRXDOA
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.2.6:8080" -j KUBE-SEP-GSGFIMZKNHLNTAQH"#,
    );
}

#[test]
fn a_local_policy_parts_pods_the_node_and_others() {
    check(
        "svc web 10.96.0.41 80/tcp node-port=30010 external-ip=198.51.100.7 external=Local
         ep web 10.244.1.5:8080 node-1
         ep web 10.244.2.5:8080 node-2",
        r#"*filter
            -A KUBE-SERVICES -d 10.96.0.41/32 -m comment --comment "no such port of a cluster IP" -j REJECT
            *nat
            -A KUBE-EXT-LOLE4ISW44XBNF3G -s 10.244.0.0/16 -m comment --comment "pod traffic for default/web external destinations" -j KUBE-SVC-LOLE4ISW44XBNF3G
            -A KUBE-EXT-LOLE4ISW44XBNF3G -m comment --comment "masquerade LOCAL traffic for default/web external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
            -A KUBE-EXT-LOLE4ISW44XBNF3G -m comment --comment "route LOCAL traffic for default/web external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-LOLE4ISW44XBNF3G
            -A KUBE-EXT-LOLE4ISW44XBNF3G -j KUBE-SVL-LOLE4ISW44XBNF3G
            -A KUBE-NODEPORTS -p tcp -m comment --comment "default/web" -m tcp --dport 30010 -j KUBE-EXT-LOLE4ISW44XBNF3G
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -s 10.244.2.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.2.5:8080
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -s 10.244.1.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.1.5:8080
            -A KUBE-SERVICES -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-LOLE4ISW44XBNF3G
            -A KUBE-SERVICES -d 198.51.100.7/32 -p tcp -m comment --comment "default/web external IP" -m tcp --dport 80 -j KUBE-EXT-LOLE4ISW44XBNF3G
            -A KUBE-SVC-LOLE4ISW44XBNF3G ! -s 10.244.0.0/16 -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-XQWD6PXGZUTOOIVQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.2.5:8080" -j KUBE-SEP-CBTFKNOSRCMRXDOA
            -A KUBE-SVL-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -j KUBE-SEP-XQWD6PXGZUTOOIVQ"#,
    );
}

#[test]
fn affinity_asks_each_endpoints_list_first() {
    check(
        "svc web 10.96.0.41 80/tcp affinity=10800
         ep web 10.244.1.5:8080 node-1
         ep web 10.244.2.5:8080 node-2",
        r#"*filter
            -A KUBE-SERVICES -d 10.96.0.41/32 -m comment --comment "no such port of a cluster IP" -j REJECT
            *nat
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -s 10.244.2.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-CBTFKNOSRCMRXDOA -p tcp -m comment --comment "default/web" -m recent --set --name KUBE-SEP-CBTFKNOSRCMRXDOA --rsource -m tcp -j DNAT --to-destination 10.244.2.5:8080
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -s 10.244.1.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
            -A KUBE-SEP-XQWD6PXGZUTOOIVQ -p tcp -m comment --comment "default/web" -m recent --set --name KUBE-SEP-XQWD6PXGZUTOOIVQ --rsource -m tcp -j DNAT --to-destination 10.244.1.5:8080
            -A KUBE-SERVICES -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-LOLE4ISW44XBNF3G
            -A KUBE-SVC-LOLE4ISW44XBNF3G ! -s 10.244.0.0/16 -d 10.96.0.41/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-XQWD6PXGZUTOOIVQ --rsource -j KUBE-SEP-XQWD6PXGZUTOOIVQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.2.5:8080" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-CBTFKNOSRCMRXDOA --rsource -j KUBE-SEP-CBTFKNOSRCMRXDOA
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-XQWD6PXGZUTOOIVQ
            -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.2.5:8080" -j KUBE-SEP-CBTFKNOSRCMRXDOA"#,
    );
}

#[test]
fn where_nobody_serves_there_is_no_chain() {
    check(
        "svc none 10.96.0.42 53/udp node-port=30042
         svc far 10.96.0.43 80/tcp external-ip=198.51.100.43 external=Local internal=Local
         ep far 10.244.2.5:8080 node-2",
        r#"*filter
            -A KUBE-EXTERNAL-SERVICES -d 198.51.100.43/32 -p tcp -m comment --comment "default/far has no local endpoints" -m tcp --dport 80 -j DROP
            -A KUBE-EXTERNAL-SERVICES ! -d 127.0.0.0/8 -p udp -m comment --comment "default/none has no endpoints" -m addrtype --dst-type LOCAL -m udp --dport 30042 -j REJECT
            -A KUBE-SERVICES -d 10.96.0.43/32 -p tcp -m comment --comment "default/far has no local endpoints" -m tcp --dport 80 -j DROP
            -A KUBE-SERVICES -d 10.96.0.42/32 -p udp -m comment --comment "default/none has no endpoints" -m udp --dport 53 -j REJECT
            -A KUBE-SERVICES -d 10.96.0.42/32 -m comment --comment "no such port of a cluster IP" -j REJECT
            -A KUBE-SERVICES -d 10.96.0.43/32 -m comment --comment "no such port of a cluster IP" -j REJECT
            *nat
            -A KUBE-EXT-I55P7MSL3WB3WNBE -s 10.244.0.0/16 -m comment --comment "pod traffic for default/far external destinations" -j KUBE-SVC-I55P7MSL3WB3WNBE
            -A KUBE-EXT-I55P7MSL3WB3WNBE -m comment --comment "masquerade LOCAL traffic for default/far external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
            -A KUBE-EXT-I55P7MSL3WB3WNBE -m comment --comment "route LOCAL traffic for default/far external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-I55P7MSL3WB3WNBE
            -A KUBE-SEP-T3RFC4UWQ4LOGA32 -s 10.244.2.5/32 -m comment --comment "default/far" -j KUBE-MARK-MASQ
            -A KUBE-SEP-T3RFC4UWQ4LOGA32 -p tcp -m comment --comment "default/far" -m tcp -j DNAT --to-destination 10.244.2.5:8080
            -A KUBE-SERVICES -d 198.51.100.43/32 -p tcp -m comment --comment "default/far external IP" -m tcp --dport 80 -j KUBE-EXT-I55P7MSL3WB3WNBE
            -A KUBE-SVC-I55P7MSL3WB3WNBE -m comment --comment "default/far -> 10.244.2.5:8080" -j KUBE-SEP-T3RFC4UWQ4LOGA32"#,
    );
}
