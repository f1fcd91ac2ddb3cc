//! Which change led to the present endpoints of a Service, and when it happened.
//!
//! Never reads a clock: the times are those in the objects.

use std::collections::HashMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::jiff::Timestamp;

use crate::pod;

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

/// Remembers, a Service, the times already accounted for.
#[derive(Default)]
pub struct TriggerTimes {
    seen: HashMap<Key, Seen>,
}

impl TriggerTimes {
    /// The earliest change since the last call for this Service: a pod's readiness, or
    /// the Service's own creation.
    pub fn observe(
        &mut self,
        key: &Key,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Option<Timestamp> {
        let last = self.seen.remove(key).unwrap_or_default();
        let mut now = Seen {
            service: service.metadata.creation_timestamp.as_ref().map(|time| time.0),
            ..Seen::default()
        };
        let mut earliest: Option<Timestamp> = None;
        let mut consider =
            |time: Timestamp| earliest = Some(earliest.map_or(time, |known| known.min(time)));
        for pod in pods {
            let Some(time) = pod::ready_since(pod).map(|time| time.0) else {
                continue;
            };
            let name = pod.metadata.name.clone().unwrap_or_default();
            if last.pods.get(&name).is_none_or(|known| time > *known) {
                consider(time);
            }
            now.pods.insert(name, time);
        }
        if let Some(time) = now.service
            && last.service.is_none_or(|known| time > known)
        {
            consider(time);
        }
        self.seen.insert(key.clone(), now);
        earliest
    }

    /// Forgets a deleted Service.
    pub fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }
}
