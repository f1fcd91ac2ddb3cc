//! Waiting on a condition, with the last state in the error.
//!
//! Never retries an assertion: a condition is something that must come true once.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest wait for any condition, in seconds: far above what a loaded machine needs.
pub const WAIT_S: u64 = 90;

/// Asks until `condition` gives a value. Each `Err` says what was seen instead; the last one
/// ends up in the panic when the time is over.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(WAIT_S);
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {WAIT_S} s for {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
