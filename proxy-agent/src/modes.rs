//! The list of modes, and what is done with one of its entries or all of them.

use anyhow::Result;

use crate::mode::{self, Entry, Mode};
use crate::settings::Settings;

/// The modes that there are.
pub const MODES: &[Entry] = &[
    // The default.
    mode::nftables::MODE,
    mode::iptables::MODE,
    mode::ipvs::MODE,
    mode::userspace::MODE,
];

/// The mode with this name.
pub fn find<'a>(modes: &'a [Entry], name: &str) -> Option<&'a Entry> {
    modes.iter().find(|mode| mode.name == name)
}

/// Their names in words, the default one first: `a (the default), b or c`.
pub fn listed(modes: &[Entry]) -> String {
    let names: Vec<&str> = modes.iter().map(|mode| mode.name).collect();
    match names.split_first() {
        Some((first, [rest @ .., last])) => {
            let between: String = rest.iter().map(|name| format!(", {name}")).collect();
            format!("{first} (the default){between} or {last}")
        }
        _ => names.concat(),
    }
}

/// The mode for each of these settings' families, the primary one first.
///
/// # Errors
/// What the mode needs is not there; nothing has been changed then.
pub fn open_all(mode: &Entry, settings: Vec<Settings>) -> Result<Vec<Box<dyn Mode>>> {
    open_each(mode, settings, mode.open)
}

fn open_each<T>(
    mode: &Entry,
    settings: Vec<Settings>,
    open: impl Fn(Settings) -> Result<T>,
) -> Result<Vec<T>> {
    let mut opened = Vec::new();
    for settings in settings {
        let family = settings.family;
        match open(settings) {
            Ok(mode) => opened.push(mode),
            Err(error) if mode.may_lack_family && !opened.is_empty() => {
                tracing::warn!("mode {mode} goes on without {family}: {error:#}");
            }
            Err(error) => {
                let needs = mode.needs;
                return Err(
                    error.context(format!("mode {mode} with {family}, which needs {needs}"))
                );
            }
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::mode::{iptables, ipvs, nftables, userspace};
    use crate::routes::Family::{self, V4, V6};

    /// The families that are opened where one of them cannot be.
    fn opened(mode: &Entry, broken: Family) -> Option<Vec<Family>> {
        let settings = [V4, V6].map(Settings::new).to_vec();
        let open = |settings: Settings| match settings.family {
            family if family == broken => bail!("not here"),
            family => Ok(family),
        };
        open_each(mode, settings, open).ok()
    }

    #[test]
    fn the_secondary_family_may_be_missing_where_it_needs_more_than_the_primary() {
        for mode in [iptables::MODE, ipvs::MODE] {
            assert_eq!(opened(&mode, V6), Some(vec![V4]));
            assert_eq!(opened(&mode, V4), None);
        }
        for mode in [nftables::MODE, userspace::MODE] {
            assert_eq!(opened(&mode, V6), None);
        }
    }
}
