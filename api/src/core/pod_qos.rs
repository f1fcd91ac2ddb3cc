//! A pod's quality-of-service class, from its requests and limits.
//!
//! Never compares quantities beyond equality of text and zero: that is all the class needs
//! once requests are defaulted from limits.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers: Vec<&Container> =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    let set = |map: Option<&BTreeMap<String, Quantity>>| {
        map.is_some_and(|map| ["cpu", "memory"].iter().any(|name| amount(map, name).is_some()))
    };
    let best_effort = containers.iter().all(|container| {
        container.resources.as_ref().is_none_or(|resources| {
            !set(resources.requests.as_ref()) && !set(resources.limits.as_ref())
        })
    });
    if best_effort {
        "BestEffort"
    } else if containers.iter().all(|container| guaranteed(container)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn guaranteed(container: &Container) -> bool {
    let Some(resources) = &container.resources else {
        return false;
    };
    let (Some(limits), Some(requests)) = (&resources.limits, &resources.requests) else {
        return false;
    };
    ["cpu", "memory"].iter().all(|name| {
        amount(limits, name).is_some() && amount(limits, name) == amount(requests, name)
    })
}

fn amount<'a>(map: &'a BTreeMap<String, Quantity>, name: &str) -> Option<&'a str> {
    map.get(name).map(|quantity| quantity.0.as_str()).filter(|text| *text != "0")
}
