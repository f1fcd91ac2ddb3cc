//! Which change led to the present endpoints of a Service, and when it happened. No clock is
//! read: the times are those in the objects.

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
        let seen = self.seen.entry(key.clone()).or_default();
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let mut earliest = created.filter(|time| seen.service.is_none_or(|known| *time > known));
        seen.service = created;
        let last = std::mem::take(&mut seen.pods);
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let known = last.get(&name).copied();
            earliest = earlier(earliest, seen.note(name, Some(pod), known));
        }
        earliest
    }

    /// The same where only these pods of the Service may have changed; none is a pod that is
    /// not the Service's any more.
    pub fn observe_changes<'a>(
        &mut self,
        key: &Key,
        changes: impl IntoIterator<Item = (&'a str, Option<&'a Pod>)>,
    ) -> Option<Timestamp> {
        let seen = self.seen.entry(key.clone()).or_default();
        changes.into_iter().fold(None, |earliest, (name, pod)| {
            let known = seen.pods.remove(name);
            earlier(earliest, seen.note(name.to_owned(), pod, known))
        })
    }

    /// Forgets a deleted Service.
    pub fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }
}

impl Seen {
    /// Notes since when a pod is as ready as it is; returns the time where it is news.
    fn note(
        &mut self,
        name: String,
        pod: Option<&Pod>,
        known: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let time = pod.and_then(pod::ready_since)?.0;
        self.pods.insert(name, time);
        known.is_none_or(|known| time > known).then_some(time)
    }
}

/// The earlier of two times, where there are two.
pub(crate) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
