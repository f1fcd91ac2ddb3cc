//! The scenarios of the source documents, for any lab: with real packets and real processes, by
//! stock kubectl and by kubectl-lite.
//!
//! Never asks what the nodes are or what mode the proxy has: what must be seen is the same.

pub mod affinity;
mod background;
mod daemon_set;
mod dns;
mod drain;
mod hand_written;
mod load_balancer;
pub mod manifests;
pub mod node_port;
mod output;
pub mod policies;
pub mod readiness;
mod rolling_restart;
mod udp;
mod virtual_ip;

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::{Client, Cluster};

pub use background::Background;

/// What must be seen of a cluster by a client.
pub type Scenario = fn(&dyn Cluster, &Client);

/// Every scenario, by its number and what must be seen.
pub const ALL: &[(&str, Scenario)] = &[
    ("s01_pods_that_are_not_ready_get_no_traffic", readiness::not_ready),
    ("s02_a_mended_probe_rolls_out_and_all_pods_answer", readiness::mended),
    ("s02_a_rolling_restart_loses_no_request", rolling_restart::loses_no_request),
    ("s03_the_columns_and_fields_of_kubectl", output::columns_and_fields),
    ("s04_dns_answers_with_the_cluster_ip", dns::cluster_ip),
    ("s05_a_client_stays_with_its_pod", affinity::sticky),
    ("s05_affinity_ends_after_its_timeout", affinity::timeout),
    ("s06_a_node_port_answers_on_every_node", node_port::every_node),
    ("s06_a_node_port_in_use_or_out_of_range_is_refused", node_port::bad_ports),
    ("s07_external_traffic_policy_local", policies::external_local),
    ("s07_internal_traffic_policy_local", policies::internal_local),
    ("s07_a_misspelt_policy_names_the_allowed_values", policies::misspelt),
    ("s07_a_health_check_port_says_which_nodes_have_endpoints", load_balancer::health_checks),
    ("s08_a_load_balancers_address_and_source_ranges", load_balancer::address_and_ranges),
    ("s09_an_external_name_is_a_cname", dns::external_name),
    ("s10_pods_reach_the_api_through_its_service", virtual_ip::api_service),
    ("s11_hand_written_endpoints_are_mirrored_and_used", hand_written::outside_address),
    ("s12_publish_not_ready_addresses", readiness::publish_not_ready),
    ("s13_endpoints_follow_deleted_pods", readiness::deleted_pods),
    ("s13_a_udp_client_follows_the_endpoints", udp::failover),
    ("s13_a_pod_that_ends_is_used_while_there_is_no_other", drain::last_resort),
    ("s14_services_in_the_environment", virtual_ip::environment),
    ("s16_a_cluster_ip_is_virtual", virtual_ip::virtual_only),
    ("s23_a_service_does_not_check_health", hand_written::dead_address),
    ("a_daemon_set_has_one_pod_a_node", daemon_set::one_pod_a_node),
];

/// Those of [`ALL`] that are wanted on a lab, by each client.
pub fn trials<L: Cluster + 'static>(lab: &Arc<L>, is_wanted: impl Fn(&str) -> bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for client in lab.clients() {
        for (name, scenario) in ALL.iter().filter(|(name, _)| is_wanted(name)) {
            let (lab, client) = (lab.clone(), client.clone());
            trials.push(Trial::test(format!("{name}::{}", client.name), move || {
                scenario(&*lab, &client);
                Ok(())
            }));
        }
    }
    trials
}
