//! Delays between tries: doubled with each failure in a row, up to a longest one.
//!
//! Never sleeps and reads no clock: it says how long to wait.

use std::time::Duration;

/// The delay after that many failures in a row.
pub fn delay_after(failures: u32, first: Duration, longest: Duration) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => first.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(longest),
    }
}

/// How often something has failed in a row, and what that means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl BackOff {
    /// No failure yet; delays from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// It has failed once more: how long to wait.
    pub fn lengthen(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.delay()
    }

    /// It has succeeded.
    pub fn end(&mut self) {
        self.failures = 0;
    }

    /// The wait that the last failure asks for; zero after a success.
    pub fn delay(&self) -> Duration {
        delay_after(self.failures, self.first, self.longest)
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it failed last time.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut back_off = BackOff::new(Duration::from_millis(5), Duration::from_secs(30));
        let mut after = |failures: u32| {
            (0..failures).for_each(|_| _ = back_off.lengthen());
            let delay = back_off.delay().as_millis();
            back_off.end();
            delay
        };
        let delays = [0, 1, 2, 3, 12, 13, 14, 40].map(&mut after);
        assert_eq!(delays, [0, 5, 10, 20, 10_240, 20_480, 30_000, 30_000]);
        assert!(!back_off.is_failing());
    }
}
