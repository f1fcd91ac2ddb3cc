//! `coracle down`: asks a running lab to end, and waits until it has. Never removes data.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::LabArgs;
use crate::lab::state::DataDir;

/// After this the lab is killed; its own orderly end is shorter.
const PATIENCE: Duration = Duration::from_secs(25);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Ends the lab of a data directory.
pub fn run(lab: &LabArgs) -> Result<()> {
    let data = DataDir::locate(lab.data_dir.as_deref())?;
    let Some(state) = data.running()? else {
        println!("no lab runs on {}", data.root.display());
        return Ok(());
    };
    state.host.signal(Signal::TERM)?;
    if gone_within(&data, PATIENCE)? {
        println!("ended; `coracle up` with the same data directory brings it back");
        return Ok(());
    }
    state.host.signal(Signal::KILL)?;
    if gone_within(&data, KILL_PATIENCE)? {
        println!("it did not end in time and was killed");
        return Ok(());
    }
    bail!("process {} does not end", state.host.pid)
}

fn gone_within(data: &DataDir, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        // The lock goes with the process; the lab inside went before it.
        if data.running()?.is_none() {
            return Ok(true);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(false)
}
