//! A table that followed any history equals one filled with what is left. Never opens a socket.

use std::collections::BTreeMap;

use cluster_dns::table::Table;
use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;

use crate::world::{Object, apply, object};

#[derive(Clone, Debug)]
enum Step {
    Apply(String),
    Delete(&'static str, String),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["default/a", "default/b", "other/a"]);
    let address = prop::sample::select(vec!["None", "10.96.0.1", "10.96.0.2", "external=x.org"]);
    let flag = prop::sample::select(vec!["", "notready", "http:80/tcp", "dns:53/udp"]);
    let service = (name.clone(), address, flag)
        .prop_map(|(name, address, flag)| Step::Apply(format!("svc {name} {address} {flag}")));
    let slice_name = prop::sample::select(vec!["default/s1", "default/s2", "other/s1"]);
    let owner = prop::sample::select(vec!["a", "b"]);
    let endpoint = prop::sample::select(vec!["10.1.0.1", "10.1.0.1/h", "10.1.0.2!", "10.1.0.3/h!"]);
    let endpoints = prop::collection::vec(endpoint, 0..3);
    let slice = (slice_name.clone(), owner, endpoints).prop_map(|(name, owner, endpoints)| {
        Step::Apply(format!("eps {name} {owner} {} sql:1/tcp", endpoints.join(" ")))
    });
    prop_oneof![
        3 => service,
        4 => slice,
        1 => name.prop_map(|name| Step::Delete("svc", name.to_owned())),
        1 => slice_name.prop_map(|name| Step::Delete("eps", name.to_owned())),
    ]
}

proptest! {
    #[test]
    fn incremental_equals_full(steps in prop::collection::vec(step(), 0..40)) {
        let mut table = Table::new(1);
        let mut left: BTreeMap<(String, String), String> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(line) => {
                    let mut words = line.split_whitespace().map(str::to_owned);
                    let key = (words.next().unwrap(), words.next().unwrap());
                    apply(&mut table, object(&line));
                    left.insert(key, line);
                }
                Step::Delete(kind, name) => {
                    let (namespace, short) = name.split_once('/').unwrap();
                    match kind {
                        "svc" => table.delete_service(namespace, short),
                        _ => table.delete_slice(namespace, short),
                    }
                    left.remove(&(kind.to_owned(), name));
                }
            }
        }
        let mut full = Table::new(1);
        for line in left.values() {
            apply(&mut full, object(line));
        }
        prop_assert_eq!(table.snapshot(), full.snapshot());
        prop_assert_eq!(table.service_names().len(), full.service_names().len());
        prop_assert_eq!(table.slice_names().len(), full.slice_names().len());
    }
}

#[test]
fn the_serial_grows_only_when_an_answer_changes() {
    let mut table = Table::new(7);
    let Object::Service(mut service) = object("svc default/a 10.96.0.1") else {
        panic!("no Service");
    };
    table.apply_service((*service).clone());
    assert_eq!(table.serial(), 8);
    service.metadata.resource_version = Some("2".to_owned());
    table.apply_service(*service);
    assert_eq!(table.serial(), 8);
    table.apply_service(Service::default());
    table.delete_service("default", "a");
    assert_eq!(table.serial(), 9);
}
