//! The options of leader election, with upstream's names and defaults, and what they must fulfil.
//!
//! Never reads anything but the command line.

use std::time::Duration;

use anyhow::ensure;
use clap::ArgAction;

/// A wait between two tries is at most this much longer than asked for, as in client-go.
pub const JITTER_FACTOR: f64 = 1.2;

/// Options of a program of which several instances may run, one of them active.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaderElection {
    /// Work only while holding a Lease, so that one of several instances does.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// How long the others wait after the leader's last sign of life before one takes over.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long a leader that cannot renew its Lease goes on.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// Wait between two tries to acquire or renew the Lease.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// Namespace of the Lease.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
    /// Name of the Lease; the program's own by default.
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
}

/// The times of an election; see [`LeaderElection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease that is not renewed is respected.
    pub lease_duration: Duration,
    /// How long a leader goes on without renewing.
    pub renew_deadline: Duration,
    /// Wait between two tries.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// The times, if they fit together.
    ///
    /// # Errors
    /// With them two instances could be active, or a leader could never renew in time.
    pub fn timing(&self) -> anyhow::Result<Timing> {
        let timing = Timing {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        };
        let Timing { lease_duration, renew_deadline, retry_period } = timing;
        ensure!(!retry_period.is_zero(), "--leader-elect-retry-period must be longer than 0");
        ensure!(
            lease_duration.as_secs() >= 1 && lease_duration.as_secs() <= MAX_LEASE_S,
            "--leader-elect-lease-duration={lease_duration:?} must be from 1s to {MAX_LEASE_S}s: a Lease counts whole seconds"
        );
        ensure!(
            renew_deadline < lease_duration,
            "--leader-elect-renew-deadline={renew_deadline:?} must be shorter than \
             --leader-elect-lease-duration={lease_duration:?}: a leader has to stop before another starts"
        );
        ensure!(
            retry_period.as_secs_f64() * JITTER_FACTOR < renew_deadline.as_secs_f64(),
            "--leader-elect-renew-deadline={renew_deadline:?} must be longer than {JITTER_FACTOR} times \
             --leader-elect-retry-period={retry_period:?}: a leader has to renew before it gives up"
        );
        Ok(timing)
    }
}

/// Longest lease, a day: more is a mistake, and the field is 32 bits wide.
const MAX_LEASE_S: u64 = 86_400;

/// Reads a duration as Go writes it: `15s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text)
        .ok_or_else(|| format!("`{text}` is no duration; write 15s, 500ms or 1m30s"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        election: LeaderElection,
    }

    /// What becomes of a command line: the times in milliseconds, or the error.
    fn check(line: &str, expected: &str) {
        let words = std::iter::once("program").chain(line.split_whitespace());
        let outcome = match Program::try_parse_from(words) {
            Err(error) => error.to_string(),
            Ok(program) if !program.election.leader_elect => "off".to_owned(),
            Ok(program) => match program.election.timing() {
                Err(error) => error.to_string(),
                Ok(timing) => {
                    let times = [timing.lease_duration, timing.renew_deadline, timing.retry_period];
                    times.map(|time| time.as_millis().to_string()).join(" ")
                }
            },
        };
        assert!(outcome.contains(expected), "`{line}`: {outcome}\nexpected: {expected}");
    }

    #[test]
    fn command_lines() {
        check("", "15000 10000 2000");
        check("--leader-elect", "15000 10000 2000");
        check("--leader-elect=true", "15000 10000 2000");
        check("--leader-elect=false", "off");
        check("--leader-elect=perhaps", "invalid value 'perhaps'");
        check("--leader-elect-lease-duration=1m30s", "90000 10000 2000");
        check(
            "--leader-elect-lease-duration=1s --leader-elect-renew-deadline=700ms --leader-elect-retry-period=100ms",
            "1000 700 100",
        );
        check("--leader-elect-lease-duration=soon", "`soon` is no duration");
        check("--leader-elect-lease-duration=-3s", "is no duration");
        check("--leader-elect-lease-duration=15", "is no duration");
        check(
            "--leader-elect-lease-duration=10s",
            "--leader-elect-renew-deadline=10s must be shorter than --leader-elect-lease-duration=10s",
        );
        check("--leader-elect-lease-duration=500ms", "must be from 1s");
        check("--leader-elect-lease-duration=9999h", "must be from 1s");
        check(
            "--leader-elect-retry-period=9s",
            "must be longer than 1.2 times --leader-elect-retry-period=9s",
        );
        check("--leader-elect-retry-period=0s", "must be longer than 0");
    }
}
