//! Removes what modes have made: `proxy-agent cleanup` what every mode has, of both families;
//! a running agent what the other modes have. Never touches what is somebody else's: each
//! mode knows its own.

use anyhow::{Result, bail};

use crate::mode::Entry;
use crate::routes::Family;

/// Removes all of it, and prints what there was.
///
/// # Errors
/// Something that is there could not be removed; the rest has been.
pub fn run(modes: &[Entry]) -> Result<()> {
    let say = |what: &str, outcome: &Result<bool>| match outcome {
        Ok(true) => println!("{what}: removed"),
        Ok(false) => println!("{what}: nothing there"),
        Err(error) => println!("{what}: not removed: {error:#}"),
    };
    let families = [Family::V4, Family::V6];
    each(modes, &families, say)
}

/// Removes what other modes than `own` have left of these families.
///
/// # Errors
/// Something that is there could not be removed; the rest has been.
pub fn others(modes: &[Entry], own: &Entry, families: &[Family]) -> Result<()> {
    let others: Vec<Entry> = modes.iter().filter(|mode| *mode != own).copied().collect();
    each(&others, families, |what, outcome| {
        if matches!(outcome, Ok(true)) {
            tracing::info!("removed what mode {what} had left");
        }
    })
}

/// Removes each, whatever becomes of the others, and says of each what became of it.
fn each(
    modes: &[Entry],
    families: &[Family],
    mut say: impl FnMut(&str, &Result<bool>),
) -> Result<()> {
    let mut failed = Vec::new();
    for mode in modes {
        for family in families {
            let what = format!("{mode} {family}");
            let outcome = (mode.cleanup)(*family);
            say(&what, &outcome);
            if let Err(error) = outcome {
                failed.push(format!("{what} ({error:#})"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("could not remove what is there of {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::each;
    use crate::mode::{Entry, ipvs, nftables, userspace};
    use crate::routes::Family;

    #[test]
    fn a_mode_that_cannot_be_removed_hides_no_other() {
        let not_now = |family| match family {
            Family::V4 => bail!("not now"),
            Family::V6 => Ok(false),
        };
        let no = |family| match family {
            Family::V4 => Ok(false),
            Family::V6 => bail!("no"),
        };
        let modes = [
            Entry { cleanup: not_now, ..nftables::MODE },
            Entry { cleanup: no, ..ipvs::MODE },
            Entry { cleanup: |_| Ok(true), ..userspace::MODE },
        ];
        let mut said = Vec::new();
        let families = [Family::V4, Family::V6];
        let outcome = each(&modes, &families, |what, outcome| {
            said.push(format!("{what}: {:?}", outcome.as_ref().ok()));
        });
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said.contains(&"userspace IPv6: Some(true)".to_owned()));
        let error = outcome.expect_err("two were not removed").to_string();
        assert_eq!(
            error,
            "could not remove what is there of nftables IPv4 (not now), ipvs IPv6 (no)"
        );
    }
}
