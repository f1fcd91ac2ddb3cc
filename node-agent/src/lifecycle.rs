//! Which containers of a pod are to be started, and when: pure, with the time as an argument.
//!
//! Never does anything: the worker carries the steps out and records what became of them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::{Deserialize, Serialize};

/// Delay before the second restart; it doubles with each further one.
pub const FIRST_BACK_OFF: Duration = Duration::from_secs(10);

/// An instance that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit status; 128 + signal, or 128 where the program could not be started.
    pub exit_code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// `Completed`, `Error`, `StartError` or `ContainerStatusUnknown`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The instance's id.
    pub id: String,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Not started since the pod came here, and why.
    Waiting {
        /// One word.
        reason: String,
        /// For people.
        message: String,
        /// Not to be tried before.
        until: Option<Timestamp>,
    },
    /// Its process runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Its process has ended.
    Ended(Ended),
}

/// What is remembered of one container of a pod, across restarts of the agent too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The container's name.
    pub name: String,
    /// Its latest instance's id, empty before the first.
    pub id: String,
    /// Instances before the latest: `restartCount`.
    pub attempt: u32,
    /// What it is doing.
    pub state: State,
    /// The instance before the latest.
    pub last: Option<Ended>,
    /// Restarts since it last ran for long.
    pub restarts_in_row: u32,
    /// Its agent lost sight of the latest instance, as in a restart of the whole node: no crash.
    pub lost: bool,
    /// Its startup probe has succeeded, or it has none.
    pub started: bool,
    /// Its readiness probe succeeds, or it has none and runs.
    pub ready: bool,
    /// What stands behind its image's name.
    pub image_id: String,
}

impl Record {
    /// A container that has not been started yet.
    pub fn new(name: &str) -> Record {
        let state = State::Waiting {
            reason: "ContainerCreating".into(),
            message: String::new(),
            until: None,
        };
        Record {
            name: name.into(),
            id: String::new(),
            attempt: 0,
            state,
            last: None,
            restarts_in_row: 0,
            lost: false,
            started: false,
            ready: false,
            image_id: String::new(),
        }
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// What is to be done for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start an instance of the container named.
    Start(String),
    /// Nothing before this time.
    Wait {
        /// The container.
        name: String,
        /// When to look again.
        until: Timestamp,
        /// The whole delay, shown to people; zero for a retry that is no crash-loop.
        back_off: Duration,
    },
}

/// The delay before restart number `restarts_in_row` (0 for the first, which is immediate).
pub fn back_off(restarts_in_row: u32, cap: Duration) -> Duration {
    client::back_off::delay_after(restarts_in_row, FIRST_BACK_OFF, cap)
}

/// Restarts that count towards the back-off, for an instance that ended like this: a long run clears them.
pub fn restarts_that_count(record: &Record, ended: &Ended, cap: Duration) -> u32 {
    let ran = ended.finished.duration_since(ended.started);
    if ran >= SignedDuration::try_from(cap * 2).unwrap_or(SignedDuration::MAX) {
        0
    } else {
        record.restarts_in_row
    }
}

/// A restartable init container.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What to do now for a pod that is to run; `records` has one entry a container, by name.
pub fn plan(spec: &PodSpec, records: &[Record], now: Timestamp, cap: Duration) -> Vec<Step> {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let mut steps = Vec::new();
    for container in spec.init_containers.iter().flatten() {
        let Some(record) = find(records, &container.name) else {
            continue;
        };
        match (&record.state, is_sidecar(container)) {
            (State::Running { .. }, true) if record.started => {}
            (State::Running { .. }, _) => return steps,
            (State::Ended(ended), false) if ended.exit_code == 0 => {}
            (_, true) => {
                steps.extend(step(record, "Always", now, cap));
                if matches!(record.state, State::Waiting { .. }) {
                    return steps;
                }
            }
            // An init container that fails is tried again unless the pod never restarts anything.
            (_, false) => {
                let policy = if policy == "Never" { "Never" } else { "OnFailure" };
                steps.extend(step(record, policy, now, cap));
                return steps;
            }
        }
    }
    for container in &spec.containers {
        if let Some(record) = find(records, &container.name) {
            steps.extend(step(record, policy, now, cap));
        }
    }
    steps
}

fn find<'a>(records: &'a [Record], name: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.name == name)
}

fn step(record: &Record, policy: &str, now: Timestamp, cap: Duration) -> Option<Step> {
    let name = record.name.clone();
    match &record.state {
        State::Running { .. } => None,
        State::Waiting { until: Some(until), .. } if *until > now => {
            Some(Step::Wait { name, until: *until, back_off: Duration::ZERO })
        }
        State::Waiting { .. } => Some(Step::Start(name)),
        State::Ended(ended) => {
            let wanted = match policy {
                "Always" => true,
                "OnFailure" => ended.exit_code != 0,
                _ => false,
            };
            if !wanted {
                return None;
            }
            let delay = if record.lost {
                Duration::ZERO
            } else {
                back_off(restarts_that_count(record, ended, cap), cap)
            };
            let until = ended.finished.checked_add(delay).unwrap_or(Timestamp::MAX);
            Some(if until <= now {
                Step::Start(name)
            } else {
                Step::Wait { name, until, back_off: delay }
            })
        }
    }
}

/// The pod's phase, as upstream derives it from container states.
pub fn phase(spec: &PodSpec, records: &[Record]) -> &'static str {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    for container in spec.init_containers.iter().flatten() {
        let Some(record) = find(records, &container.name) else {
            return "Pending";
        };
        match &record.state {
            State::Running { .. } if is_sidecar(container) && record.started => {}
            State::Ended(ended) if is_sidecar(container) || ended.exit_code == 0 => {}
            State::Ended(_) if policy == "Never" => return "Failed",
            _ => return "Pending",
        }
    }
    let mine = || spec.containers.iter().map(|container| find(records, &container.name));
    let not_begun = |record: Option<&Record>| {
        record.is_none_or(|record| {
            matches!(record.state, State::Waiting { .. }) && record.last.is_none()
        })
    };
    if mine().any(not_begun) {
        return "Pending";
    }
    if mine().flatten().any(Record::is_running) || policy == "Always" {
        return "Running";
    }
    let succeeded =
        |record: &Record| matches!(&record.state, State::Ended(ended) if ended.exit_code == 0);
    match (mine().flatten().all(succeeded), policy) {
        (true, _) => "Succeeded",
        (false, "Never") => "Failed",
        (false, _) => "Running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(300);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// `r` running, `w` waiting, `eN` ended with N at second 100 after a second; `*K` after K restarts in a row.
    fn record(name: &str, text: &str) -> Record {
        let mut record = Record::new(name);
        let (state, restarts) = text.split_once('*').unwrap_or((text, "0"));
        record.restarts_in_row = restarts.parse().unwrap();
        record.started = true;
        match state.as_bytes() {
            [b'r'] => record.state = State::Running { since: at(0) },
            [b'e', code @ ..] => {
                record.state = State::Ended(Ended {
                    exit_code: std::str::from_utf8(code).unwrap().parse().unwrap(),
                    signal: 0,
                    reason: String::new(),
                    message: String::new(),
                    started: at(99),
                    finished: at(100),
                    id: String::new(),
                });
            }
            _ => {}
        }
        record
    }

    fn spec(policy: &str, init: &[&str], main: &[&str]) -> PodSpec {
        let make = |name: &&str| Container {
            name: name.to_string(),
            restart_policy: name.starts_with("side").then(|| "Always".into()),
            ..Default::default()
        };
        PodSpec {
            restart_policy: Some(policy.into()),
            init_containers: Some(init.iter().map(make).collect()),
            containers: main.iter().map(make).collect(),
            ..Default::default()
        }
    }

    /// `policy: init=state … | main=state …` at second → steps and phase.
    fn check(line: &str) {
        let (given, want) = line.split_once(" => ").unwrap();
        let (policy, rest) = given.split_once(": ").unwrap();
        let (containers, now) = rest.split_once(" @").unwrap();
        let (init, main) = containers.split_once('|').unwrap();
        let parse = |text: &str| -> Vec<Record> {
            text.split_whitespace()
                .map(|word| word.split_once('=').map(|(name, state)| record(name, state)).unwrap())
                .collect()
        };
        let (init, main) = (parse(init), parse(main));
        let names = |records: &[Record]| {
            records.iter().map(|record| record.name.clone()).collect::<Vec<_>>()
        };
        let (init_names, main_names) = (names(&init), names(&main));
        let refs = |names: &'_ [String]| -> Vec<&'static str> {
            names.iter().map(|name| &*name.clone().leak()).collect()
        };
        let spec = spec(policy, &refs(&init_names), &refs(&main_names));
        let records = [init, main].concat();
        let steps: Vec<String> = plan(&spec, &records, at(now.parse().unwrap()), CAP)
            .into_iter()
            .map(|step| match step {
                Step::Start(name) => format!("start {name}"),
                Step::Wait { name, until, back_off } => {
                    format!("{name} waits {}s until {}", back_off.as_secs(), until.as_second())
                }
            })
            .collect();
        assert_eq!(format!("{}; {}", steps.join(", "), phase(&spec, &records)), want, "{line}");
    }

    #[test]
    fn steps_and_phases() {
        for line in [
            "Always: | a=w b=w @0 => start a, start b; Pending",
            "Always: | a=r b=w @0 => start b; Pending",
            "Always: | a=r @0 => ; Running",
            "Always: | a=e0 @100 => start a; Running",
            "Always: | a=e1*1 @101 => a waits 10s until 110; Running",
            "Always: | a=e1*1 @110 => start a; Running",
            "Always: | a=e1*9 @100 => a waits 300s until 400; Running",
            "OnFailure: | a=e0 b=r @100 => ; Running",
            "OnFailure: | a=e0 b=e0 @100 => ; Succeeded",
            "OnFailure: | a=e1 @100 => start a; Running",
            "Never: | a=e1 b=e0 @100 => ; Failed",
            "Never: | a=e0 @100 => ; Succeeded",
            "Always: i=w | a=w @0 => start i; Pending",
            "Always: i=r | a=w @0 => ; Pending",
            "Always: i=e0 j=w | a=w @100 => start j; Pending",
            "Always: i=e0 | a=w @100 => start a; Pending",
            "Always: i=e1*1 | a=w @100 => i waits 10s until 110; Pending",
            "Never: i=e1 | a=w @100 => ; Failed",
            "Always: side=w | a=w @0 => start side; Pending",
            "Always: side=r | a=w @0 => start a; Pending",
            "Always: side=e0 | a=r @100 => start side; Running",
        ] {
            check(line);
        }
    }

    #[test]
    fn back_off_doubles_up_to_the_cap_and_a_long_run_clears_it() {
        let seconds = |n| back_off(n, CAP).as_secs();
        assert_eq!([0, 1, 2, 3, 5, 6, 40].map(seconds), [0, 10, 20, 40, 160, 300, 300]);
        let mut record = record("a", "e1*5");
        let State::Ended(ended) = &mut record.state else { panic!() };
        ended.started = at(100 - 601);
        let ended = ended.clone();
        assert_eq!(restarts_that_count(&record, &ended, CAP), 0);
    }

    #[test]
    fn an_instance_lost_with_its_node_is_no_crash() {
        let mut record = record("a", "e137*4");
        record.lost = true;
        assert_eq!(
            plan(&spec("Always", &[], &["a"]), &[record], at(100), CAP),
            [Step::Start("a".into())]
        );
    }
}
