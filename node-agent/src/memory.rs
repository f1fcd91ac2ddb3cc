//! What a worker remembers of its pod across restarts of the agent and of the node.
//!
//! A file of the pod's directory, replaced as a whole. Never holds what the API server or the
//! shim knows better.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};

use crate::lifecycle::{Ended, Record, State};
use crate::shim::protocol::InstanceState;

const FILE: &str = "pod.json";

/// One pod's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When the node first saw the pod.
    pub since: Timestamp,
    /// Its address, once it has had one.
    pub pod_ip: Option<String>,
    /// Its containers, init containers first.
    pub records: Vec<Record>,
}

impl Memory {
    /// What is in the pod's directory, or a new pod's.
    pub fn load(directory: &Path, spec: &PodSpec, now: Timestamp) -> Memory {
        let read = std::fs::read(directory.join(FILE)).ok();
        let mut memory = read
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Memory { since: now, pod_ip: None, records: Vec::new() });
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        for container in containers {
            if !memory.records.iter().any(|record| record.name == container.name) {
                memory.records.push(Record::new(&container.name));
            }
        }
        memory
    }

    /// Replaces the file.
    pub fn save(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("make {}", directory.display()))?;
        let new = directory.join("pod.json.new");
        let saved = std::fs::write(&new, serde_json::to_vec(self)?)
            .and_then(|()| std::fs::rename(&new, directory.join(FILE)));
        saved.with_context(|| format!("write {FILE} in {}", directory.display()))
    }

    /// The entry of a container.
    pub fn record(&mut self, name: &str) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.name == name)
    }

    /// Takes over what a shim says of its instances; the names of containers that have ended since.
    pub fn observe(&mut self, instances: &[InstanceState]) -> Vec<String> {
        let mut ended = Vec::new();
        for record in &mut self.records {
            let Some(instance) = instances.iter().find(|instance| instance.id == record.id) else {
                continue;
            };
            let time =
                |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
            // An instance whose start or end no agent has noted yet counts as well.
            let noted = match (&record.state, &record.last) {
                (State::Ended(ended), _) => ended.id == record.id,
                (State::Waiting { .. }, Some(last)) => last.id == record.id,
                _ => false,
            };
            match instance.exit {
                None if record.is_running() || noted => {}
                None => record.state = State::Running { since: time(instance.started_ms) },
                Some(_) if noted => {}
                Some(exit) => {
                    ended.push(record.name.clone());
                    (record.ready, record.started, record.lost) = (false, false, false);
                    record.state = State::Ended(Ended {
                        exit_code: exit.code,
                        signal: exit.signal,
                        reason: if exit.code == 0 { "Completed" } else { "Error" }.into(),
                        message: String::new(),
                        started: time(instance.started_ms),
                        finished: time(exit.finished_ms),
                        id: record.id.clone(),
                    });
                }
            }
        }
        ended
    }

    /// The sandbox has gone, and with it whatever ran in it.
    pub fn lose_all(&mut self, now: Timestamp) {
        for record in &mut self.records {
            let State::Running { since } = record.state else {
                continue;
            };
            (record.ready, record.started, record.lost) = (false, false, true);
            record.state = State::Ended(Ended {
                exit_code: 137,
                signal: 0,
                reason: "ContainerStatusUnknown".into(),
                message: "The container could not be located when the pod's sandbox ended".into(),
                started: since,
                finished: now,
                id: record.id.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::protocol::InstanceExit;
    use k8s_openapi::api::core::v1::Container;

    #[test]
    fn memory_survives_and_follows_the_shim() {
        let dir = tempfile::tempdir().unwrap();
        let container = Container { name: "web".into(), ..Default::default() };
        let spec = PodSpec { containers: vec![container], ..Default::default() };
        let mut memory = Memory::load(dir.path(), &spec, Timestamp::UNIX_EPOCH);
        memory.records[0].id = "1".into();
        memory.records[0].state = State::Running { since: Timestamp::UNIX_EPOCH };
        memory.save(dir.path()).unwrap();
        let mut memory = Memory::load(dir.path(), &spec, Timestamp::now());
        assert_eq!((memory.since, memory.records.len()), (Timestamp::UNIX_EPOCH, 1));

        let mut lost = memory.clone();
        lost.lose_all(Timestamp::now());
        assert!(lost.records[0].lost && !lost.records[0].is_running());

        let mut instance = InstanceState {
            id: "1".into(),
            name: "web".into(),
            attempt: 0,
            pid: 7,
            started_ms: 1000,
            exit: None,
        };
        assert!(memory.observe(&[instance.clone()]).is_empty());
        instance.exit = Some(InstanceExit { code: 3, signal: 0, finished_ms: 2000 });
        assert_eq!(memory.observe(&[instance.clone()]), ["web"]);
        assert!(memory.observe(&[instance]).is_empty(), "an end is seen once");
        assert!(
            matches!(&memory.records[0].state, State::Ended(ended) if ended.exit_code == 3 && ended.reason == "Error")
        );
    }
}
