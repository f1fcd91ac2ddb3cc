//! Which numbers of a range are taken, and a free one in constant time.
//!
//! Never knows what the numbers stand for.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Random tries before the range is scanned: at half full, one in a million needs a scan.
const RANDOM_TRIES: u32 = 20;

/// A set of taken numbers below `size`.
#[derive(Debug)]
pub struct Range {
    size: u32,
    band: u32,
    // Held for a few instructions, only by writers that allocate and the feed.
    taken: Mutex<Vec<u64>>,
}

impl Range {
    /// A range with everything free, whose first `band` numbers are handed out last.
    pub fn new(size: u32, band: u32) -> Self {
        let words = (size as usize).div_ceil(64);
        Self { size, band, taken: Mutex::new(vec![0; words]) }
    }

    /// How many numbers there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Marks a number as taken or free.
    pub fn set(&self, number: u32, taken: bool) {
        if number < self.size {
            mark(&mut self.lock(), number, taken);
        }
    }

    /// Frees everything.
    pub fn clear(&self) {
        self.lock().fill(0);
    }

    /// Takes a random free number, above the band while there is one; `None` when full.
    pub fn take_any(&self) -> Option<u32> {
        let mut taken = self.lock();
        let number = self
            .search(&taken, self.band, self.size)
            .or_else(|| self.search(&taken, 0, self.band))?;
        mark(&mut taken, number, true);
        Some(number)
    }

    fn search(&self, taken: &[u64], from: u32, to: u32) -> Option<u32> {
        if from >= to {
            return None;
        }
        for _ in 0..RANDOM_TRIES {
            let number = rand::random_range(from..to);
            if !is_marked(taken, number) {
                return Some(number);
            }
        }
        let start = rand::random_range(from..to);
        (start..to).chain(from..start).find(|number| !is_marked(taken, *number))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_marked(words: &[u64], number: u32) -> bool {
    words[(number / 64) as usize] & (1 << (number % 64)) != 0
}

fn mark(words: &mut [u64], number: u32, taken: bool) {
    let bit = 1 << (number % 64);
    let word = &mut words[(number / 64) as usize];
    if taken {
        *word |= bit;
    } else {
        *word &= !bit;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_is_handed_out_once_and_the_band_last() {
        let range = Range::new(100, 16);
        let order: Vec<u32> = std::iter::from_fn(|| range.take_any()).collect();
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 100);
        assert!(order[..84].iter().all(|number| *number >= 16));
        assert_eq!(range.take_any(), None);
        range.set(3, false);
        assert_eq!(range.take_any(), Some(3));
    }
}
