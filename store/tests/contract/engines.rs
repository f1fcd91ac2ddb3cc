//! The engines under test, each started fresh and gone when dropped.
//!
//! Never shares an engine between tests.

use store::{Embedded, EmbeddedOptions, Store};
use tempfile::TempDir;

/// A running store and what it stands on.
pub struct Engine {
    store: Box<dyn Store>,
    _directory: Option<TempDir>,
}

impl Engine {
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }
}

pub fn in_memory() -> Engine {
    let store = Embedded::in_memory().expect("an engine in memory");
    Engine {
        store: Box::new(store),
        _directory: None,
    }
}

pub fn on_disk() -> Engine {
    let directory = tempfile::tempdir().expect("a directory");
    // Every compaction rewrites the files.
    let options = EmbeddedOptions {
        rewrite_log_bytes_min: 0,
    };
    let store = Embedded::open(directory.path(), options).expect("an engine on disk");
    Engine {
        store: Box::new(store),
        _directory: Some(directory),
    }
}
