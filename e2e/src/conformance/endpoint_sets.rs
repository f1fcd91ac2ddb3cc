//! Which pods and ports a Service has, in its Endpoints and in its EndpointSlices.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bench::Bench;
use crate::wait_for;

/// A pod and a port.
pub type Endpoint = (String, u16);

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u16 {
    value.as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default()
}

/// The ready ones of an Endpoints object.
fn of_endpoints(endpoints: &Value) -> BTreeSet<Endpoint> {
    let mut found = BTreeSet::new();
    for subset in list(&endpoints["subsets"]) {
        for address in list(&subset["addresses"]) {
            for port in list(&subset["ports"]) {
                found.insert((text(&address["targetRef"]["name"]), number(&port["port"])));
            }
        }
    }
    found
}

/// The ready ones of a list of EndpointSlices.
fn of_slices(slices: &[Value]) -> BTreeSet<Endpoint> {
    let mut found = BTreeSet::new();
    for slice in slices {
        let endpoints = list(&slice["endpoints"]).iter();
        for endpoint in endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true) {
            for port in list(&slice["ports"]) {
                found.insert((text(&endpoint["targetRef"]["name"]), number(&port["port"])));
            }
        }
    }
    found
}

impl Bench<'_> {
    /// The EndpointSlices of a Service.
    #[track_caller]
    pub fn slices(&self, service: &str) -> Vec<Value> {
        let label = format!("kubernetes.io/service-name={service}");
        let found = self.ns.get(&["endpointslices", "-l", &label]);
        list(&found["items"]).to_vec()
    }

    /// The endpoints in all EndpointSlices of a Service.
    #[track_caller]
    pub fn slice_endpoints(&self, service: &str) -> Vec<Value> {
        let slices = self.slices(service);
        let each = slices.iter().flat_map(|slice| list(&slice["endpoints"]));
        each.cloned().collect()
    }

    /// Waits until Endpoints and EndpointSlices of a Service are there and have exactly these
    /// pods and ports.
    #[track_caller]
    pub fn expect_endpoints(&self, service: &str, wanted: &[(&str, u16)]) {
        let wanted: BTreeSet<Endpoint> =
            wanted.iter().map(|(pod, port)| ((*pod).to_owned(), *port)).collect();
        wait_for(&format!("{service} to have {wanted:?}"), || {
            let output = self.ns.run(&["get", "endpoints", service, "-o", "json"]);
            let endpoints = serde_json::from_str(&output.stdout)
                .map_err(|_| format!("no Endpoints: {output:?}"))?;
            let slices = self.slices(service);
            let seen = (of_endpoints(&endpoints), of_slices(&slices));
            if seen.0 == wanted && seen.1 == wanted && !slices.is_empty() {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
    }

    /// Waits until a pod's endpoint has these conditions: ready, serving, terminating.
    #[track_caller]
    pub fn expect_conditions(&self, service: &str, pod: &str, wanted: [bool; 3]) {
        wait_for(&format!("{pod} of {service} to be {wanted:?}"), || {
            let endpoints = self.slice_endpoints(service);
            let own = endpoints.iter().find(|endpoint| endpoint["targetRef"]["name"] == pod);
            let own = own.ok_or_else(|| format!("not in {endpoints:?}"))?;
            let conditions = &own["conditions"];
            let seen = ["ready", "serving", "terminating"]
                .map(|name| conditions[name] == Value::Bool(true));
            if seen == wanted { Ok(()) } else { Err(conditions.to_string()) }
        });
    }
}
