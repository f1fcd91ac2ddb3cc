//! The cluster's names as pods ask for them, and the files that tell a pod whom to ask.
//!
//! Never asks a resolver outside the lab.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Test,
    bench::{Bench, pod},
    objects::{client as client_pod, server, service, service_with},
    site::{DOMAIN, Site, dns_address, kubernetes_service},
};
use crate::{Client, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("dns_names_of_the_cluster", cluster),
    ("dns_hosts_entries_of_a_pod", hosts),
    ("dns_names_of_services", services),
    ("dns_external_name_changes_and_becomes_an_address", external_name),
    ("dns_pod_by_its_hostname", hostname),
    ("dns_pod_by_its_subdomain", subdomain),
    ("dns_partial_names_of_services", partial),
    ("dns_addresses_point_back", pointers),
    ("dns_pod_by_its_address", pod_address),
    ("dns_unready_pods_are_left_out_unless_asked_for", unready),
    ("dns_missing_names_are_denied", missing),
    ("dns_policy_none_has_only_its_own", policy_none),
    ("dns_config_of_a_pod_is_used", pod_config),
    ("dns_policy_default_is_the_nodes", policy_default),
    ("dns_long_search_paths", long_search),
    ("dns_search_paths_with_underscore_and_dot", odd_search),
];

impl Bench<'_> {
    /// What `dig +short` prints in the pod `client`, sorted.
    fn dig(&self, words: &str) -> Vec<String> {
        let script = format!("dig +short +time=2 +tries=2 {words}");
        let mut lines = self.shell(&pod("client"), &script).ok_lines();
        lines.sort();
        lines
    }

    /// Waits until `dig +short` prints this, in any order.
    #[track_caller]
    fn expect_dig(&self, words: &str, wanted: &[String]) {
        let mut wanted = wanted.to_vec();
        wanted.sort();
        wait_for(&format!("{words} to be {wanted:?}"), || {
            let seen = self.dig(words);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// A name in the test's namespace, whole.
    fn full(&self, name: &str) -> String {
        format!("{name}.{}.svc.{DOMAIN}.", self.ns.name)
    }

    /// A file in the pod `client`.
    fn file(&self, path: &str) -> Vec<String> {
        self.ns.exec("client", &["cat", path]).ok_lines()
    }
}

/// A bench with a pod `client`.
fn bench<'a>(site: &'a Site, client: &Client, name: &str) -> Bench<'a> {
    let bench = Bench::new(site, client, name);
    bench.make_ready(&[client_pod("client")]);
    bench
}

fn headless(name: &str) -> Value {
    service_with(name, json!({"clusterIP": "None"}))
}

fn cluster(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-cluster");
    let service = kubernetes_service(client);
    let ip = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    for transport in ["+notcp", "+tcp"] {
        for name in [
            "kubernetes.default",
            "kubernetes.default.svc",
            &format!("kubernetes.default.svc.{DOMAIN}"),
            &format!("kubernetes.default.svc.{DOMAIN}."),
        ] {
            bench.expect_dig(&format!("{transport} +search {name}"), std::slice::from_ref(&ip));
        }
    }
    let getent = bench.ns.exec("client", &["getent", "ahostsv4", "kubernetes.default"]);
    assert!(getent.stdout.starts_with(&ip), "{getent:?}");
}

fn hosts(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "dns-hosts");
    let mut named = client_pod("client");
    named["spec"]["hostname"] = json!("asker");
    named["spec"]["subdomain"] = json!("names");
    named["spec"]["hostAliases"] = json!([{"ip": "192.0.2.7", "hostnames": ["seven", "siete"]}]);
    bench.make_ready(&[named, headless("names")]);
    let ip = bench.pod_ip("client");
    let full = bench.full("asker.names");
    let full = full.trim_end_matches('.');
    let text = bench.file("/etc/hosts");
    let has =
        |words: &[&str]| text.iter().any(|line| line.split_whitespace().eq(words.iter().copied()));
    assert!(has(&[&ip, full, "asker"]), "{text:#?}");
    assert!(has(&["192.0.2.7", "seven", "siete"]), "{text:#?}");
    assert!(text.iter().any(|line| line.starts_with("127.0.0.1")), "{text:#?}");
    for (name, address) in [(full, ip.as_str()), ("asker", &ip), ("siete", "192.0.2.7")] {
        let getent = bench.ns.exec("client", &["getent", "-s", "files", "hosts", name]);
        assert!(getent.stdout.starts_with(address), "{name}: {getent:?}");
    }
}

fn services(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-services");
    let mut bare = headless("bare");
    bare["spec"]["selector"] = json!({"app": "web"});
    bench.make_ready(&[service("web"), bare, server("one", "web"), server("two", "web")]);
    let ip = bench.ns.cluster_ip("web");
    let pods = ["one", "two"].map(|pod| bench.pod_ip(pod));
    for transport in ["+notcp", "+tcp"] {
        for name in
            [bench.full("web"), format!("+search web.{}.svc", bench.ns.name), "+search web".into()]
        {
            bench.expect_dig(&format!("{transport} {name}"), std::slice::from_ref(&ip));
        }
        bench.expect_dig(&format!("{transport} {}", bench.full("bare")), &pods);
    }
    let srv = format!("SRV {}", bench.full("_http._tcp.web"));
    bench.expect_dig(&srv, &[format!("0 100 80 {}", bench.full("web"))]);
    // Each endpoint of the headless one has a name of its own, which leads to it.
    let srv = format!("SRV {}", bench.full("_http._tcp.bare"));
    let targets = wait_for("two targets", || {
        let lines = bench.dig(&srv);
        let targets: BTreeSet<String> =
            lines.iter().filter_map(|line| line.split(' ').nth(3)).map(str::to_owned).collect();
        if targets.len() == 2 { Ok(targets) } else { Err(format!("{lines:?}")) }
    });
    let mut reached: Vec<String> = targets.iter().flat_map(|name| bench.dig(name)).collect();
    reached.sort();
    let mut wanted = pods.to_vec();
    wanted.sort();
    assert_eq!(reached, wanted);
}

fn external_name(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-external");
    let target = |name: &str| format!("{name}.{}.svc.{DOMAIN}", bench.ns.name);
    let external = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "away"},
        "spec": {"type": "ExternalName", "externalName": target("one")},
    });
    bench.make(&[service("one"), service("two"), external]);
    let asked = bench.full("away");
    for name in ["one", "two"] {
        bench.patch_service("away", json!({"externalName": target(name)}));
        bench.expect_dig(&format!("CNAME {asked}"), &[bench.full(name)]);
        bench.expect_dig(&asked, &[bench.full(name), bench.ns.cluster_ip(name)]);
    }
    let ports = json!([{"name": "http", "port": 80}]);
    let fields = json!({"type": "ClusterIP", "externalName": null, "ports": ports});
    bench.patch_service("away", fields);
    bench.expect_dig(&asked, &[bench.ns.cluster_ip("away")]);
    bench.expect_dig(&format!("CNAME {asked}"), &[]);
}

/// A pod with these names, behind a headless Service called as its subdomain.
fn named_pod(bench: &Bench<'_>) -> String {
    let mut named = server("named", "names");
    named["spec"]["hostname"] = json!("asked");
    named["spec"]["subdomain"] = json!("names");
    bench.make_ready(&[headless("names"), named]);
    bench.pod_ip("named")
}

fn hostname(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "dns-hostname");
    let mut tools = client_pod("client");
    tools["metadata"]["labels"] = json!({"app": "names"});
    tools["spec"]["hostname"] = json!("asked");
    tools["spec"]["subdomain"] = json!("names");
    bench.make_ready(&[headless("names"), tools]);
    let ip = bench.pod_ip("client");
    bench.expect_dig(&bench.full("asked.names"), std::slice::from_ref(&ip));
    bench.expect_dig("+search asked.names", &[ip]);
    assert_eq!(bench.ns.exec("client", &["hostname"]).ok().trim(), "asked");
    let full = bench.ns.exec("client", &["hostname", "-f"]).ok();
    assert_eq!(format!("{}.", full.trim()), bench.full("asked.names"));
}

fn subdomain(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-subdomain");
    let ip = named_pod(&bench);
    bench.expect_dig(&bench.full("asked.names"), std::slice::from_ref(&ip));
    bench.expect_dig(&bench.full("names"), std::slice::from_ref(&ip));
    bench.expect_dig(&format!("+tcp {}", bench.full("asked.names")), &[ip]);
    let srv = format!("SRV {}", bench.full("_http._tcp.names"));
    bench.expect_dig(&srv, &[format!("0 100 80 {}", bench.full("asked.names"))]);
}

fn partial(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-partial");
    let mut bare = headless("bare");
    bare["spec"]["selector"] = json!({"app": "web"});
    bench.make_ready(&[service("web"), bare, server("one", "web")]);
    let space = &bench.ns.name;
    for (name, address) in [("web", bench.ns.cluster_ip("web")), ("bare", bench.pod_ip("one"))] {
        for suffix in [String::new(), format!(".{space}"), format!(".{space}.svc")] {
            let asked = format!("+search {name}{suffix}");
            bench.expect_dig(&asked, std::slice::from_ref(&address));
        }
        let asked = format!("SRV +search _http._tcp.{name}.{space}.svc");
        wait_for(&format!("{asked} to be answered"), || {
            let lines = bench.dig(&asked);
            let right = |line: &String| line.ends_with(&bench.full(name));
            if lines.len() == 1 && right(&lines[0]) { Ok(()) } else { Err(format!("{lines:?}")) }
        });
    }
}

fn pointers(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-pointers");
    let pod_ip = named_pod(&bench);
    bench.make(&[service("web")]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_dig(&format!("-x {ip}"), &[bench.full("web")]);
    bench.expect_dig(&format!("-x {pod_ip}"), &[bench.full("asked.names")]);
}

fn pod_address(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-podaddress");
    let ip = bench.pod_ip("client");
    let name = format!("{}.{}.pod.{DOMAIN}.", ip.replace('.', "-"), bench.ns.name);
    bench.expect_dig(&name, &[ip]);
}

fn unready(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-unready");
    let mut all =
        service_with("all", json!({"clusterIP": "None", "publishNotReadyAddresses": true}));
    all["spec"]["selector"] = json!({"app": "web"});
    bench.make(&[headless("web"), all, super::objects::unready("one", "web")]);
    bench.make_ready(&[server("two", "web")]);
    let pods = ["one", "two"].map(|pod| bench.pod_ip(pod));
    bench.expect_dig(&bench.full("all"), &pods);
    bench.expect_dig(&bench.full("web"), &pods[1..]);
}

fn missing(site: &Site, client: &Client) {
    let bench = bench(site, client, "dns-missing");
    bench.make(&[service("web")]);
    bench.expect_dig(&bench.full("web"), &[bench.ns.cluster_ip("web")]);
    // A name that is not there, and a type that a name has not.
    for (asked, status) in
        [(bench.full("nobody"), "NXDOMAIN"), (format!("TXT {}", bench.full("web")), "NOERROR")]
    {
        let script = format!("dig +time=2 {asked}");
        let text = bench.shell(&pod("client"), &script).ok();
        assert!(text.contains(&format!("status: {status}")), "{text}");
        assert!(text.contains("ANSWER: 0"), "{text}");
    }
}

/// Starts the pod `client` with this policy and config.
fn with_config<'a>(
    site: &'a Site,
    client: &Client,
    name: &str,
    policy: &str,
    config: Value,
) -> Bench<'a> {
    let bench = Bench::new(site, client, name);
    let mut configured = client_pod("client");
    configured["spec"]["dnsPolicy"] = json!(policy);
    configured["spec"]["dnsConfig"] = config;
    bench.make_ready(&[configured]);
    bench
}

fn policy_none(site: &Site, client: &Client) {
    let config = json!({
        "nameservers": ["192.0.2.53"], "searches": ["example.test"],
        "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
    });
    let bench = with_config(site, client, "dns-none", "None", config);
    let text = bench.file("/etc/resolv.conf");
    let wanted = ["search example.test", "nameserver 192.0.2.53", "options ndots:3 edns0"];
    assert_eq!(text, wanted);
}

fn pod_config(site: &Site, client: &Client) {
    let server = dns_address(client);
    let searches = [format!("default.svc.{DOMAIN}")];
    let config = json!({
        "nameservers": [server], "searches": searches, "options": [{"name": "ndots", "value": "2"}],
    });
    let bench = with_config(site, client, "dns-config", "None", config);
    let service = kubernetes_service(client);
    let ip = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    bench.expect_dig("+search kubernetes", &[ip.to_owned()]);
    let getent = bench.ns.exec("client", &["getent", "ahostsv4", "kubernetes"]);
    assert!(getent.stdout.starts_with(ip), "{getent:?}");
}

fn policy_default(site: &Site, client: &Client) {
    let bench = with_config(site, client, "dns-default", "Default", json!({}));
    let text = bench.file("/etc/resolv.conf").join("\n");
    assert!(!text.contains(&dns_address(client)), "{text}");
    assert!(!text.contains("svc."), "{text}");
    bench.delete("pod", &["client"]);
    bench.make_ready(&[client_pod("client")]);
    let cluster_first = bench.file("/etc/resolv.conf");
    let search = format!("search {}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}", bench.ns.name);
    assert!(cluster_first[0].starts_with(&search), "{cluster_first:?}");
    assert_eq!(cluster_first[1], format!("nameserver {}", dns_address(client)));
    assert!(cluster_first[2].contains("ndots:5"), "{cluster_first:?}");
}

fn long_search(site: &Site, client: &Client) {
    const SEARCHES: usize = 28;
    let searches: Vec<String> =
        (0..SEARCHES).map(|n| format!("{}{n:02}.example.test", "x".repeat(40))).collect();
    let bench =
        with_config(site, client, "dns-long", "ClusterFirst", json!({ "searches": searches }));
    let text = bench.file("/etc/resolv.conf");
    for search in &searches {
        assert!(text[0].contains(search.as_str()), "{search} is missing in {text:?}");
    }
    bench.make(&[service("web")]);
    bench.expect_dig("+search web", &[bench.ns.cluster_ip("web")]);
}

fn odd_search(site: &Site, client: &Client) {
    let searches = json!([".", "_sip._tcp.example.test", "under_score.example.test"]);
    let bench =
        with_config(site, client, "dns-odd", "ClusterFirst", json!({ "searches": searches }));
    let text = bench.file("/etc/resolv.conf");
    let words: Vec<&str> = text[0].split_whitespace().collect();
    for search in [".", "_sip._tcp.example.test", "under_score.example.test"] {
        assert!(words.contains(&search), "{search} is missing in {text:?}");
    }
    bench.make(&[service("web")]);
    bench.expect_dig("+search web", &[bench.ns.cluster_ip("web")]);
}
