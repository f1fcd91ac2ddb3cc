//! Memory that the allocator holds and nobody uses, given back to the kernel.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::time::sleep;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// CPU time between two looks up to which a process is at rest, in milliseconds.
const REST_MS: i64 = 100;
/// CPU time since memory was given back last that makes it worth a try.
const WORK_MS: i64 = 200;

/// Gives free memory back now. Takes some milliseconds: for times when much was freed at once.
pub fn give_back() {
    // SAFETY: takes the allocator's own locks, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Gives it back whenever this process has worked and come to rest, for as long as it is polled.
pub async fn give_back_at_rest() {
    let mut meter = Meter::default();
    loop {
        if meter.is_due(cpu_ms()) {
            give_back();
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What this process has used so far.
fn cpu_ms() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    })
}

/// CPU times of former looks, in milliseconds.
#[derive(Default)]
struct Meter {
    last: i64,
    given_back: i64,
}

impl Meter {
    /// Whether to give memory back now: after work, at rest.
    fn is_due(&mut self, now: i64) -> bool {
        let rests = now - self.last <= REST_MS;
        self.last = now;
        let due = rests && now - self.given_back >= WORK_MS;
        if due {
            self.given_back = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::Meter;

    #[test]
    fn memory_is_given_back_once_after_work_and_never_under_it() {
        let mut meter = Meter::default();
        let looks = [0, 500, 510, 511, 600, 720, 721, 5_000, 9_000, 9_050, 9_060];
        let due = looks.map(|cpu_ms| if meter.is_due(cpu_ms) { 'g' } else { '.' });
        assert_eq!(due.iter().collect::<String>(), "..g...g..g.");
    }
}
