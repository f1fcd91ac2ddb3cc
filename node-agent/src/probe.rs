//! When a probe's results change a container's verdict: thresholds, as a pure state machine.
//!
//! Never probes: see `prober`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds once.
    Startup,
    /// Decides whether the container takes traffic.
    Readiness,
    /// Its failure ends the container.
    Liveness,
}

impl ProbeKind {
    /// As messages to people name it.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// A probe's times with upstream's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Before the first probe.
    pub initial_delay: Duration,
    /// Between probes.
    pub period: Duration,
    /// Bound of one probe.
    pub timeout: Duration,
    /// Successes in a row that make a success.
    pub success_threshold: u32,
    /// Failures in a row that make a failure.
    pub failure_threshold: u32,
}

impl Timing {
    /// The times in a pod's probe.
    pub fn of(probe: &Probe) -> Timing {
        let seconds = |value: Option<i32>, default: i32| {
            let value = value.filter(|value| *value > 0).unwrap_or(default);
            Duration::from_secs(value.max(0) as u64)
        };
        let count = |value: Option<i32>, default: i32| {
            value.filter(|value| *value > 0).unwrap_or(default) as u32
        };
        Timing {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        }
    }
}

/// The results of one probe of one container instance.
#[derive(Clone, Debug)]
pub struct Tally {
    timing: Timing,
    verdict: Option<bool>,
    latest: bool,
    in_row: u32,
}

impl Tally {
    /// Before the first result. A container is taken to be alive, and neither ready nor started.
    pub fn new(kind: ProbeKind, timing: Timing) -> Tally {
        Tally {
            timing,
            verdict: (kind == ProbeKind::Liveness).then_some(true),
            latest: false,
            in_row: 0,
        }
    }

    /// Takes one result; says the verdict where it changes.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        if success == self.latest {
            self.in_row = self.in_row.saturating_add(1);
        } else {
            (self.latest, self.in_row) = (success, 1);
        }
        let threshold =
            if success { self.timing.success_threshold } else { self.timing.failure_threshold };
        if self.in_row >= threshold && self.verdict != Some(success) {
            self.verdict = Some(success);
            return Some(success);
        }
        None
    }
}

/// How long a probe's first moments are.
const EARLY: Duration = Duration::from_secs(1);
/// How soon it asks again in them.
const EARLY_RETRY: Duration = Duration::from_millis(25);

/// A container's first moments: a refused connection only means that it does not listen yet, and
/// another failure of a readiness probe that it is not ready yet. It is asked again soon, and that
/// is not counted. (Upstream's `periodSeconds` says too that readiness may be asked for at other
/// times while it is false.)
#[derive(Debug)]
pub struct Early {
    kind: ProbeKind,
    /// Before the next try after an answer that was no success; twice as long each time.
    patience: Duration,
    over: bool,
}

impl Early {
    /// Before the first try.
    pub fn new(kind: ProbeKind) -> Early {
        Early { kind, patience: EARLY_RETRY, over: kind == ProbeKind::Liveness }
    }

    /// It has succeeded: what fails from now on counts.
    pub fn over(&mut self) {
        self.over = true;
    }

    /// How long to wait before the next try where this one, so long after the first, does not count.
    pub fn pause(&mut self, refused: bool, since_first: Duration) -> Option<Duration> {
        if self.over || since_first >= EARLY || (!refused && self.kind != ProbeKind::Readiness) {
            self.over |= since_first >= EARLY;
            return None;
        }
        if refused {
            return Some(EARLY_RETRY);
        }
        let pause = self.patience;
        self.patience *= 2;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries, as `r`efused, `f`ailed or `s`ucceeded, one after another without time of their own:
    /// after how many ms each is followed by the next; `-` after its period.
    fn pauses(kind: ProbeKind, tries: &str) -> String {
        let mut early = Early::new(kind);
        let mut since_first = Duration::ZERO;
        let next = tries.chars().map(|result| {
            if result == 's' {
                early.over();
            }
            match early.pause(result == 'r', since_first).filter(|_| result != 's') {
                Some(pause) => {
                    since_first += pause;
                    pause.as_millis().to_string()
                }
                None => "-".to_owned(),
            }
        });
        next.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_container_that_becomes_ready_is_not_kept_waiting_for_a_period() {
        let cases = [
            (ProbeKind::Readiness, "fs", "25 -"),
            (ProbeKind::Readiness, "rfffs", "25 25 50 100 -"),
            (ProbeKind::Readiness, "fffffffff", "25 50 100 200 400 800 - - -"),
            (ProbeKind::Readiness, "rsrf", "25 - - -"),
            (ProbeKind::Startup, "rrf", "25 25 -"),
            (ProbeKind::Liveness, "rf", "- -"),
        ];
        for (kind, tries, expected) in cases {
            assert_eq!(pauses(kind, tries), expected, "{kind:?} {tries}");
        }
    }

    /// `+` and `-` are results; `T`, `F` and `.` what each changes.
    fn verdicts(kind: ProbeKind, success: i32, failure: i32, results: &str) -> String {
        let probe = Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Default::default()
        };
        let mut tally = Tally::new(kind, Timing::of(&probe));
        let letter = |verdict| match verdict {
            Some(true) => 'T',
            Some(false) => 'F',
            None => '.',
        };
        results.chars().map(|result| letter(tally.observe(result == '+'))).collect()
    }

    #[test]
    fn thresholds_decide() {
        for (kind, success, failure, results, want) in [
            (ProbeKind::Readiness, 1, 3, "+--+---+", "T.....FT"),
            (ProbeKind::Readiness, 2, 1, "+-++", ".F.T"),
            (ProbeKind::Readiness, 1, 3, "----", "..F."),
            (ProbeKind::Liveness, 1, 3, "++--+---", ".......F"),
            (ProbeKind::Liveness, 1, 1, "-", "F"),
            (ProbeKind::Startup, 1, 2, "-+", ".T"),
            (ProbeKind::Startup, 1, 2, "--", ".F"),
        ] {
            assert_eq!(verdicts(kind, success, failure, results), want, "{kind:?} {results}");
        }
    }

    #[test]
    fn defaults_are_upstreams() {
        let timing = Timing::of(&Probe { timeout_seconds: Some(0), ..Default::default() });
        let seconds =
            [timing.initial_delay, timing.period, timing.timeout].map(|time| time.as_secs());
        assert_eq!(
            (seconds, timing.success_threshold, timing.failure_threshold),
            ([0, 10, 1], 1, 3)
        );
    }
}
