//! What this server's own writers know of the objects they are storing, so that the feed need
//! not decode them again.
//!
//! Only a shortcut: of what is not here, or was written in other bytes, the feed decodes the
//! value. Never grows beyond its limit.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::entry::Selectable;

/// Most objects on their way from a writer to the feed.
const ANNOUNCED_MAX: usize = 4_096;

/// Objects on their way through the store, by store key.
#[derive(Debug, Default)]
pub struct Announced(Mutex<HashMap<String, (Bytes, Selectable)>>);

impl Announced {
    /// Says what is about to be stored.
    pub fn announce(&self, key: &str, value: &Bytes, selectable: Selectable) {
        let mut announced = self.lock();
        if announced.len() < ANNOUNCED_MAX {
            announced.insert(key.to_owned(), (value.clone(), selectable));
        }
    }

    /// What was said of a value that is stored now, or will not be.
    pub fn take(&self, key: &str, value: &Bytes) -> Option<Selectable> {
        let mut announced = self.lock();
        let (known, _) = announced.get(key)?;
        // Mostly they are the same bytes in the same place.
        let same = known.as_ptr() == value.as_ptr() && known.len() == value.len();
        if !same && known != value {
            return None;
        }
        announced.remove(key).map(|(_, selectable)| selectable)
    }

    /// Forgets everything: the feed lists anew, and will not see what was written meanwhile.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Bytes, Selectable)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
