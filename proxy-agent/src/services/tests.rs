//! What is said of Services that a mode cannot carry wholly. Never sends an Event.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc::Receiver;

use super::Services;
use crate::catalog::{Catalog, Change, ServiceName};
use crate::events::{Events, Warning};
use crate::health::Health;
use crate::health_check_node_port::HealthChecks;
use crate::metrics::Metrics;
use crate::mode::{Mode, nftables};
use crate::routes::{Destination, Dirty, Family, Routes};
use crate::settings::Settings;

/// Carries no session affinity, and no node ports.
struct Plain(Settings);

impl Mode for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn settings(&self) -> &Settings {
        &self.0
    }

    fn sync(&mut self, _: &Catalog, _: &Dirty) -> anyhow::Result<()> {
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn needs_sweep(&self) -> bool {
        false
    }

    fn distrust(&mut self) {}

    fn cannot(&self, to: &Destination, routes: &Routes) -> Option<&'static str> {
        if matches!(to, Destination::NodePort { .. }) {
            Some("no node ports")
        } else if routes.inside.affinity.is_some() {
            Some("no session affinity")
        } else {
            None
        }
    }
}

struct Bench {
    catalog: Catalog,
    modes: Vec<Box<dyn Mode>>,
    services: Services,
    metrics: Arc<Metrics>,
    warnings: Receiver<Warning>,
}

impl Bench {
    fn new() -> Bench {
        let metrics = Arc::new(Metrics::new(&nftables::MODE));
        let (events, warnings) = Events::channel(metrics.clone());
        let health = Arc::new(Health::default());
        let checks = HealthChecks::new("node-1", Vec::new(), health, events.clone());
        Bench {
            catalog: Catalog::new("node-1"),
            modes: vec![Box::new(Plain(Settings::new(Family::V4)))],
            services: Services::new("node-1", metrics.clone(), events, checks),
            metrics,
            warnings,
        }
    }

    /// Takes a change in and gives the notes of the warnings that it caused.
    fn apply(&mut self, change: Change) -> Vec<String> {
        self.catalog.apply(change);
        self.catalog.take_dirty();
        let changed = self.catalog.take_recomputed();
        self.services.follow(changed, &self.catalog, &self.modes);
        std::iter::from_fn(|| self.warnings.try_recv().ok()).map(|warning| warning.note).collect()
    }

    fn put(&mut self, name: &str, affinity: &str, node_port: Option<u16>) -> Vec<String> {
        let service = json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {
                "type": "NodePort", "clusterIP": "10.96.0.10", "sessionAffinity": affinity,
                "ports": [{"port": 80, "nodePort": node_port}],
            },
        });
        let service = serde_json::from_value(service).expect("a Service");
        self.apply(Change::Service(Box::new(service)))
    }

    fn delete(&mut self, name: &str) -> Vec<String> {
        self.apply(Change::ServiceGone(ServiceName {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }))
    }

    fn unsupported(&self) -> i64 {
        self.metrics.unsupported_services.get()
    }
}

#[test]
fn what_a_mode_cannot_do_is_said_once_for_each_change() {
    let mut bench = Bench::new();
    let none: [&str; 0] = [];
    assert_eq!(bench.put("web", "None", None), none);
    assert_eq!(bench.unsupported(), 0);

    let sticky = bench.put("web", "ClientIP", None);
    assert_eq!(sticky, ["node node-1, mode plain: no session affinity"]);
    assert_eq!(bench.unsupported(), 1);
    // Another change of the Service that leaves it at that.
    assert_eq!(bench.put("web", "ClientIP", Some(0)), none);

    let both = bench.put("web", "ClientIP", Some(30_010));
    assert_eq!(both, ["node node-1, mode plain: no node ports; no session affinity"]);
    assert_eq!(bench.put("web", "None", None), none);
    assert_eq!(bench.unsupported(), 0);

    // Once it has gone, what was said of it is forgotten.
    assert_eq!(bench.put("web", "ClientIP", None).len(), 1);
    assert_eq!(bench.delete("web"), none);
    assert_eq!(bench.unsupported(), 0);
    assert_eq!(bench.put("web", "ClientIP", None).len(), 1);
}

#[test]
fn a_source_range_that_cannot_be_read_is_said_once_for_each_change() {
    let mut bench = Bench::new();
    let mut put = |ranges: &[&str]| {
        let service = json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [{"port": 80}],
                "loadBalancerSourceRanges": ranges,
            },
        });
        let service = serde_json::from_value(service).expect("a Service");
        bench.apply(Change::Service(Box::new(service)))
    };
    let none: [&str; 0] = [];
    let said = [
        r#"node node-1 lets nobody in by what is no network in spec.loadBalancerSourceRanges: ["10.0.0.0/33"]"#,
    ];
    assert_eq!(put(&["10.0.0.0/8"]), none);
    assert_eq!(put(&["10.0.0.0/33", "10.0.0.0/8"]), said);
    assert_eq!(put(&["10.0.0.0/33"]), none);
    assert_eq!(put(&["10.0.0.0/8"]), none);
    assert_eq!(put(&["10.0.0.0/33"]), said);
}

#[test]
fn too_many_warnings_are_left_out_and_counted() {
    let mut bench = Bench::new();
    for index in 0..300 {
        let service = json!({
            "metadata": {"namespace": "default", "name": format!("s{index}")},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", index / 250, index % 250 + 1),
                "sessionAffinity": "ClientIP", "ports": [{"port": 80}],
            },
        });
        let service = serde_json::from_value(service).expect("a Service");
        bench.catalog.apply(Change::Service(Box::new(service)));
    }
    bench.catalog.take_dirty();
    let changed = bench.catalog.take_recomputed();
    bench.services.follow(changed, &bench.catalog, &bench.modes);
    assert_eq!(bench.unsupported(), 300);
    assert_eq!(bench.metrics.events_left_out.get(), 300 - 256);
}
