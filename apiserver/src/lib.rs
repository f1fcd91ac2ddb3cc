//! The API server: from an HTTP request to a revision in the store, and to every watcher.
