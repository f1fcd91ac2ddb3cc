//! Who serves the next connection: endpoints strictly in turn, and clients that stay
//! with theirs. No sockets and no clock: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::routes::{Affinity, Target};

/// Clients remembered for one listener; the next ones are served and not remembered
/// until others time out.
pub const MAX_REMEMBERED: usize = 65_536;
/// Clients whose time is over are thrown away this often, when others come.
const PURGE_EVERY: Duration = Duration::from_secs(10);

/// Where a listener's connections go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// The endpoints, sorted, without duplicates.
    pub targets: Vec<Target>,
    /// Session affinity.
    pub affinity: Option<Affinity>,
}

impl Backends {
    /// Whether the endpoint is one of these.
    pub fn has(&self, target: &Target) -> bool {
        self.targets.binary_search(target).is_ok()
    }
}

struct Remembered {
    target: Target,
    used: Instant,
}

/// The turn of one listener, shared by all its clients.
pub struct Balancer {
    backends: Backends,
    last: Option<Target>,
    remembered: HashMap<IpAddr, Remembered>,
    purged: Option<Instant>,
}

impl Balancer {
    /// Begins with the first endpoint.
    pub fn new(backends: Backends) -> Balancer {
        Balancer { backends, last: None, remembered: HashMap::new(), purged: None }
    }

    /// Takes other endpoints; the turn goes on where it was.
    pub fn set(&mut self, backends: Backends) {
        if backends.affinity.is_none() {
            self.remembered = HashMap::new();
        }
        self.backends = backends;
    }

    /// The endpoint for a new connection of `client`; `None`: there is none. What is
    /// remembered of an endpoint that has gone does not count.
    pub fn choose(&mut self, client: IpAddr, now: Instant) -> Option<Target> {
        let Some(affinity) = self.backends.affinity else {
            return self.next();
        };
        let timeout = Duration::from_secs(u64::from(affinity.timeout_seconds));
        if let Some(remembered) = self.remembered.get_mut(&client)
            && now.saturating_duration_since(remembered.used) < timeout
            && self.backends.has(&remembered.target)
        {
            remembered.used = now;
            return Some(remembered.target);
        }
        let target = self.next()?;
        self.remember(client, target, now, timeout);
        Some(target)
    }

    /// The client's endpoint did not answer: it is given another one next time.
    pub fn forget(&mut self, client: &IpAddr) {
        self.remembered.remove(client);
    }

    /// Whether the endpoint is still in use.
    pub fn has(&self, target: &Target) -> bool {
        self.backends.has(target)
    }

    /// The one after the last one used, also where that one has gone meanwhile.
    fn next(&mut self) -> Option<Target> {
        let targets = &self.backends.targets;
        let after = self.last.map_or(0, |last| targets.partition_point(|target| *target <= last));
        let next = targets.get(after).or_else(|| targets.first()).copied()?;
        self.last = Some(next);
        Some(next)
    }

    fn remember(&mut self, client: IpAddr, target: Target, now: Instant, timeout: Duration) {
        let is_due = |purged| now.saturating_duration_since(purged) >= PURGE_EVERY;
        if self.purged.is_none_or(is_due) {
            self.purged = Some(now);
            self.remembered.retain(|_, r| now.saturating_duration_since(r.used) < timeout);
        }
        if self.remembered.len() < MAX_REMEMBERED || self.remembered.contains_key(&client) {
            let used = now;
            self.remembered.insert(client, Remembered { target, used });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(numbers: &[u8]) -> Vec<Target> {
        let target =
            |number: &u8| Target { address: IpAddr::from([10, 244, 0, *number]), port: 80 };
        numbers.iter().map(target).collect()
    }

    fn balancer(numbers: &[u8], timeout_seconds: Option<u32>) -> Balancer {
        Balancer::new(backends(numbers, timeout_seconds))
    }

    fn backends(numbers: &[u8], timeout_seconds: Option<u32>) -> Backends {
        Backends {
            targets: targets(numbers),
            affinity: timeout_seconds.map(|timeout_seconds| Affinity { timeout_seconds }),
        }
    }

    fn client(number: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    }

    fn choose(balancer: &mut Balancer, number: u32, now: Instant) -> u8 {
        match balancer.choose(client(number), now).map(|t| t.address) {
            Some(IpAddr::V4(address)) => address.octets()[3],
            _ => 0,
        }
    }

    #[test]
    fn the_turn_is_shared_and_goes_on_over_changes() {
        let now = Instant::now();
        let mut balancer = balancer(&[1, 3, 5], None);
        let turn = |balancer: &mut Balancer| -> Vec<u8> {
            (0..4).map(|number| choose(balancer, number, now)).collect()
        };
        assert_eq!(turn(&mut balancer), [1, 3, 5, 1]);
        balancer.set(backends(&[2, 3, 5], None));
        assert_eq!(turn(&mut balancer), [2, 3, 5, 2]);
        balancer.set(backends(&[1], None));
        assert_eq!(turn(&mut balancer), [1, 1, 1, 1]);
        balancer.set(backends(&[], None));
        assert_eq!(turn(&mut balancer), [0, 0, 0, 0]);
    }

    #[test]
    fn a_client_stays_until_its_time_is_over() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut balancer = balancer(&[1, 2, 3], Some(10));
        assert_eq!(choose(&mut balancer, 7, at(0)), 1);
        assert_eq!(choose(&mut balancer, 8, at(0)), 2);
        assert_eq!(choose(&mut balancer, 7, at(9)), 1, "unused for less than 10 s");
        assert_eq!(choose(&mut balancer, 7, at(18)), 1, "each use counts anew");
        assert_eq!(choose(&mut balancer, 8, at(18)), 3, "unused for 18 s");
        assert_eq!(choose(&mut balancer, 7, at(28)), 1, "its turn, by chance the same");
        assert_eq!(choose(&mut balancer, 9, at(28)), 2);
    }

    #[test]
    fn a_client_does_not_stay_with_what_has_gone_or_does_not_answer() {
        let now = Instant::now();
        let mut balancer = balancer(&[1, 2], Some(10));
        assert_eq!(choose(&mut balancer, 7, now), 1);
        balancer.set(backends(&[2, 3], Some(10)));
        assert_eq!(choose(&mut balancer, 7, now), 2);
        balancer.forget(&client(7));
        assert_eq!(choose(&mut balancer, 7, now), 3);
        balancer.set(backends(&[2, 3], None));
        assert_eq!(choose(&mut balancer, 7, now), 2, "no affinity any more");
    }

    #[test]
    fn more_clients_than_the_limit_are_served_and_not_remembered() {
        let now = Instant::now();
        let mut balancer = balancer(&[1, 2], Some(10));
        let limit = u32::try_from(MAX_REMEMBERED).expect("a small number");
        for number in 0..limit {
            choose(&mut balancer, number, now);
        }
        let first = choose(&mut balancer, limit, now);
        assert_ne!(choose(&mut balancer, limit, now), first);
        assert_eq!(balancer.remembered.len(), MAX_REMEMBERED);
        let later = now + Duration::from_secs(10);
        let first = choose(&mut balancer, limit, later);
        assert_eq!(choose(&mut balancer, limit, later), first);
        assert_eq!(balancer.remembered.len(), 1);
    }
}
