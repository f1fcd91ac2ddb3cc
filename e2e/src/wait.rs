//! Waiting on a condition, with the last state in the error.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest wait for any condition, in seconds: far above what a loaded machine needs.
pub const WAIT_S: u64 = 90;

/// Between two looks at a condition.
const PACE: Duration = Duration::from_millis(50);

/// Asks until `condition` gives a value. Each `Err` says what was seen instead; the last one
/// ends up in the panic when the time is over.
#[track_caller]
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    wait_at_pace(what, PACE, condition)
}

/// The same with another time between two looks: where looking too often keeps the condition from
/// coming true, as where something must go unused for a while.
#[track_caller]
pub fn wait_at_pace<T>(
    what: &str,
    pace: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(WAIT_S);
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {WAIT_S} s for {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(pace),
        }
    }
}

/// [`wait_for`] in asynchronous code.
///
/// # Errors
/// The time is over; with what was seen last.
pub async fn wait_for_async<T>(
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(WAIT_S);
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() > deadline => {
                anyhow::bail!("waited {WAIT_S} s for {what}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(PACE).await,
        }
    }
}
