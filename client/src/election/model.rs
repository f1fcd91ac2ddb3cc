//! The state machine against a model of the API server: requests and answers that are delayed,
//! lost or late, instances that stand still, clocks that differ.
//!
//! Never uses a real clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::elector::{Elector, Moment, Step, holder};
use super::options::Timing;

const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};
const INSTANCES: usize = 3;

/// One Lease with optimistic locking.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    revision: u64,
}

impl Server {
    fn put(&mut self, mut lease: Lease) -> Option<Lease> {
        let current = self.lease.as_ref();
        let expected = current.and_then(|lease| lease.metadata.resource_version.clone());
        if lease.metadata.resource_version != expected {
            return None;
        }
        self.revision += 1;
        lease.metadata.resource_version = Some(self.revision.to_string());
        self.lease = Some(lease.clone());
        Some(lease)
    }
}

enum Flight {
    Idle,
    /// A read is answered, and the answer on its way.
    Reading(Option<Lease>),
    Asked(Lease, Duration),
    /// A write is done or refused, and the answer on its way.
    Answered(Option<Lease>, Duration),
}

struct Instance {
    elector: Elector,
    clock: Duration,
    wall: i64,
    flight: Flight,
}

impl Instance {
    fn new(number: usize) -> Self {
        Self {
            elector: Elector::new("kube-system", "it", &format!("instance-{number}"), TIMING),
            // Clocks agree about nothing but the length of a second.
            clock: Duration::from_secs(1000 * number as u64),
            wall: 1_000_000_000 * (number as i64 + 1),
            flight: Flight::Idle,
        }
    }

    fn now(&self) -> Moment {
        Moment { at: self.clock, wall: Timestamp::from_second(self.wall).expect("a time") }
    }

    /// What it does next with a server that answers at once.
    fn step(&mut self, server: &mut Server) {
        let now = self.now();
        self.flight = match std::mem::replace(&mut self.flight, Flight::Idle) {
            Flight::Idle => match self.elector.renewal(now) {
                Some(lease) => Flight::Asked(lease, now.at),
                None => Flight::Reading(server.lease.clone()),
            },
            Flight::Reading(lease) => match self.elector.read(now, lease) {
                Step::Held(_) => Flight::Idle,
                Step::Write(lease) => Flight::Asked(*lease, now.at),
            },
            Flight::Asked(lease, begun) => Flight::Answered(server.put(lease), begun),
            Flight::Answered(Some(lease), begun) => {
                self.elector.wrote(begun, now.at, lease);
                Flight::Idle
            }
            // Refused: the slow path.
            Flight::Answered(None, _) => Flight::Reading(server.lease.clone()),
        };
    }
}

struct World {
    server: Server,
    instances: Vec<Instance>,
    /// Writes that nobody waits for any more, but which may still reach the server.
    late: Vec<Lease>,
}

#[derive(Clone, Debug)]
enum Happening {
    Step(usize),
    /// The instance stops waiting for an answer.
    GiveUp(usize),
    /// A write arrives long after.
    Late,
    Pass(u16),
    Release(usize),
    Labelled,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (0..INSTANCES).prop_map(Happening::Step),
        2 => (0..INSTANCES).prop_map(Happening::GiveUp),
        2 => Just(Happening::Late),
        6 => (1..16_000u16).prop_map(Happening::Pass),
        1 => (0..INSTANCES).prop_map(Happening::Release),
        1 => Just(Happening::Labelled),
    ]
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::default(),
            instances: (0..INSTANCES).map(Instance::new).collect(),
            late: Vec::new(),
        }
    }

    fn happens(&mut self, what: &Happening) {
        match what {
            Happening::Step(number) => self.instances[*number].step(&mut self.server),
            Happening::GiveUp(number) => {
                let flight = &mut self.instances[*number].flight;
                if let Flight::Asked(lease, _) = std::mem::replace(flight, Flight::Idle) {
                    self.late.push(lease);
                }
            }
            Happening::Late => {
                if let Some(lease) = self.late.pop() {
                    self.server.put(lease);
                }
            }
            Happening::Pass(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Happening::Release(number) => {
                let instance = &mut self.instances[*number];
                instance.flight = Flight::Idle;
                if let Some(lease) = instance.elector.release(instance.now()) {
                    self.server.put(lease);
                }
            }
            Happening::Labelled => {
                if let Some(mut lease) = self.server.lease.clone() {
                    let labels = lease.metadata.labels.get_or_insert_default();
                    labels.insert("seen".to_owned(), self.server.revision.to_string());
                    self.server.put(lease);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        for instance in &mut self.instances {
            instance.clock += time;
        }
    }

    fn leaders(&self) -> Vec<usize> {
        let all = self.instances.iter().enumerate();
        all.filter(|(_, instance)| instance.elector.leads_at(instance.clock))
            .map(|(number, _)| number)
            .collect()
    }

    /// Lets an instance finish what it does, and then try once to hold the Lease.
    fn settle(&mut self, number: usize) {
        let instance = &mut self.instances[number];
        while !matches!(instance.flight, Flight::Idle) {
            instance.step(&mut self.server);
        }
        instance.step(&mut self.server);
        while !matches!(instance.flight, Flight::Idle) {
            instance.step(&mut self.server);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_do_two_lead_and_in_the_end_one_does(history in prop::collection::vec(happening(), 0..150)) {
        let mut world = World::new();
        for what in &history {
            world.happens(what);
            let leaders = world.leaders();
            prop_assert!(leaders.len() <= 1, "{leaders:?} lead after {what:?}");
        }
        // Whoever held it is gone; one that is left takes over when the lease has run out.
        for instance in &mut world.instances[..INSTANCES - 1] {
            instance.elector = Elector::new("kube-system", "it", "idle", TIMING);
            instance.flight = Flight::Idle;
        }
        let last = INSTANCES - 1;
        world.settle(last);
        world.pass(TIMING.lease_duration);
        world.settle(last);
        prop_assert_eq!(world.leaders(), [last]);
    }

    #[test]
    fn after_a_release_the_next_one_does_not_wait(history in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for what in &history {
            world.happens(what);
        }
        for number in world.leaders() {
            let lease = world.server.lease.clone().expect("somebody leads");
            let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
            world.happens(&Happening::Release(number));
            let released = world.server.lease.clone().expect("it stays");
            // A renewal whose answer was lost makes the release a conflict: then nothing is promised.
            if !holder(&released).is_empty() {
                continue;
            }
            let next = (number + 1) % INSTANCES;
            world.instances[next].flight = Flight::Idle;
            world.settle(next);
            prop_assert_eq!(world.leaders(), [next]);
            let lease = world.server.lease.clone().expect("it stays");
            let after = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
            prop_assert_eq!(after, transitions.map(|count| count + 1));
        }
    }
}

/// The Lease's fields over one takeover, as a table.
#[test]
fn what_is_written() {
    let mut world = World::new();
    let mut told = Vec::new();
    let mut tell = |world: &World, what: &str| {
        let spec = world.server.lease.clone().and_then(|lease| lease.spec);
        let spec = spec.expect("a lease");
        let seconds = |time: Option<_>| {
            let time: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime =
                time.expect("a time");
            time.0.as_second()
        };
        told.push(format!(
            "{what}: [{}] {}s, {} transitions, acquired {}, renewed {}",
            spec.holder_identity.unwrap_or_default(),
            spec.lease_duration_seconds.unwrap_or_default(),
            spec.lease_transitions.unwrap_or_default(),
            seconds(spec.acquire_time),
            seconds(spec.renew_time),
        ));
    };
    world.settle(0);
    tell(&world, "created");
    world.instances[0].wall += 5;
    world.settle(0);
    tell(&world, "renewed");
    world.instances[1].wall += 7;
    world.settle(1);
    tell(&world, "looked at by another");
    world.pass(TIMING.lease_duration);
    world.settle(1);
    tell(&world, "run out");
    world.instances[1].wall += 1;
    world.happens(&Happening::Release(1));
    tell(&world, "released");
    world.settle(2);
    tell(&world, "taken");
    assert_eq!(
        told.join("\n"),
        "created: [instance-0] 15s, 0 transitions, acquired 1000000000, renewed 1000000000\n\
         renewed: [instance-0] 15s, 0 transitions, acquired 1000000000, renewed 1000000005\n\
         looked at by another: [instance-0] 15s, 0 transitions, acquired 1000000000, renewed 1000000005\n\
         run out: [instance-1] 15s, 1 transitions, acquired 2000000007, renewed 2000000007\n\
         released: [] 1s, 1 transitions, acquired 2000000008, renewed 2000000008\n\
         taken: [instance-2] 15s, 2 transitions, acquired 3000000000, renewed 3000000000"
    );
}
