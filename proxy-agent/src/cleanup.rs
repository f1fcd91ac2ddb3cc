//! `proxy-agent cleanup`: removes what every mode has made, of both families. Never
//! touches what is somebody else's: each mode knows its own.

use anyhow::bail;

use crate::mode::{self, ModeName};
use crate::model::Family;

/// Removes it, and prints what there was.
///
/// # Errors
/// Something that is there could not be removed; the rest has been.
pub fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for name in ModeName::ALL {
        for (family, version) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
            match mode::cleanup(name, family) {
                Ok(true) => println!("{name} {version}: removed"),
                Ok(false) => println!("{name} {version}: nothing there"),
                Err(error) => {
                    println!("{name} {version}: not removed: {error:#}");
                    failed.push(format!("{name} {version}"));
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("could not remove what is there of {}", failed.join(", "));
    }
    Ok(())
}
