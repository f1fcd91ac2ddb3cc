//! What watchers of one selection and form share: the walk over the events, the filter, and
//! the bytes that come of them.
//!
//! Whoever comes first to a position makes the block that begins there; the others take it as
//! it is. A block is never changed, and begins where another one ends, so that watchers which
//! stand apart come together.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use store::Revision;

/// Blocks kept for watchers that are not the first. One that lags further makes its own.
const BLOCKS_KEPT: usize = 8;

/// Bytes of the blocks kept, but for the newest one.
const BLOCK_BYTES_KEPT: usize = 128 << 10;

/// Some consecutive events of a kind, filtered and encoded.
#[derive(Debug, Clone)]
pub struct Block {
    /// Sequence number of the first event.
    pub from: u64,
    /// Sequence number after the last event; the same as `from` if there is none yet.
    pub to: u64,
    /// Revision of the last event.
    pub revision: Revision,
    /// The lines; empty if no event is of the selection.
    pub bytes: Bytes,
    /// An event could not be told: the last line says why, and the watch ends.
    pub failed: bool,
}

/// The blocks of one selection and form.
#[derive(Debug, Default)]
pub struct Shared {
    blocks: Mutex<VecDeque<Block>>,
}

impl Shared {
    /// The block that begins at an event. `make` makes one that ends at the given event, if
    /// any, or before.
    pub fn block(self: &Arc<Self>, from: u64, make: impl FnOnce(Option<u64>) -> Block) -> Block {
        let mut blocks = lock(&self.blocks);
        if let Some(known) = blocks.iter().find(|block| block.from == from) {
            return known.clone();
        }
        let until = blocks.iter().map(|block| block.from).filter(|next| *next > from).min();
        let block = make(until);
        // One that is alone has nobody to keep it for.
        if block.to > from && Arc::strong_count(self) > 1 {
            let mut bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
            while blocks.len() >= BLOCKS_KEPT || bytes > BLOCK_BYTES_KEPT {
                bytes -= blocks.pop_front().map_or(bytes, |oldest| oldest.bytes.len());
            }
            blocks.push_back(block.clone());
        } else if Arc::strong_count(self) == 1 {
            blocks.clear();
        }
        block
    }
}

/// What is shared now, by what it is of.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<String, Weak<Shared>>>);

impl Shares {
    /// What the watchers of this selection and form share, the new one among them.
    pub fn join(&self, what: String) -> Arc<Shared> {
        let mut shares = lock(&self.0);
        if let Some(shared) = shares.get(&what).and_then(Weak::upgrade) {
            return shared;
        }
        shares.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::<Shared>::default();
        shares.insert(what, Arc::downgrade(&shared));
        shared
    }

    /// Drops every block: those who still need one make it again.
    pub fn forget(&self) {
        let mut shares = lock(&self.0);
        shares.retain(|_, shared| shared.strong_count() > 0);
        for shared in shares.values().filter_map(Weak::upgrade) {
            *lock(&shared.blocks) = VecDeque::new();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(from: u64, to: u64) -> Block {
        Block { from, to, revision: to as Revision, bytes: Bytes::new(), failed: false }
    }

    #[test]
    fn a_block_is_made_once_and_ends_where_the_next_begins() {
        let shares = Shares::default();
        let (first, second) = (shares.join("a".to_owned()), shares.join("a".to_owned()));
        first.block(5, |until| {
            assert_eq!(until, None);
            block(5, 9)
        });
        let taken = second.block(5, |_| panic!("it is there"));
        assert_eq!((taken.from, taken.to), (5, 9));
        let behind = second.block(2, |until| {
            assert_eq!(until, Some(5));
            block(2, 5)
        });
        assert_eq!(behind.to, 5);
    }

    #[test]
    fn nothing_is_kept_without_events_or_for_one_alone() {
        let shares = Shares::default();
        let one = shares.join("a".to_owned());
        one.block(5, |_| block(5, 9));
        let other = shares.join("a".to_owned());
        assert_eq!(other.block(5, |_| block(5, 5)).to, 5);
        assert_eq!(one.block(5, |_| block(5, 7)).to, 7);
        drop((one, other));
        let later = shares.join("a".to_owned());
        assert_eq!(later.block(5, |_| block(5, 8)).to, 8);
        assert!(!Arc::ptr_eq(&later, &shares.join("b".to_owned())));
    }
}
