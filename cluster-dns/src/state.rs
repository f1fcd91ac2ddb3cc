//! The table as sockets and watches share it. Never does I/O.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::table::Table;

/// The table, and whether it is complete yet.
#[derive(Debug, Default)]
pub struct State {
    table: RwLock<Table>,
    services_synced: AtomicBool,
    slices_synced: AtomicBool,
}

impl State {
    /// State over a table that still has to be filled.
    pub fn new(table: Table) -> Self {
        Self { table: RwLock::new(table), ..Self::default() }
    }

    /// The table to answer from. Held only while one response is made.
    pub fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table to change. Held only while one object is applied.
    pub fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that all Services have been seen.
    pub fn set_services_synced(&self) {
        self.services_synced.store(true, Ordering::Release);
    }

    /// Says that all EndpointSlices have been seen.
    pub fn set_slices_synced(&self) {
        self.slices_synced.store(true, Ordering::Release);
    }

    /// What is still missing for right answers; empty when ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let seen = [(&self.services_synced, "services"), (&self.slices_synced, "endpointslices")];
        let missing = seen.iter().filter(|(synced, _)| !synced.load(Ordering::Acquire));
        missing.map(|(_, what)| *what).collect()
    }

    /// Whether answers about the cluster's names are right.
    pub fn is_ready(&self) -> bool {
        self.services_synced.load(Ordering::Acquire) && self.slices_synced.load(Ordering::Acquire)
    }
}
