//! The ways to bring a model into the kernel. A mode is one folder here and a choice
//! in `crate::modes`; it never watches the API and never decides policy.

pub mod nftables;

use crate::model::{Dirty, Model};

/// A way to bring a model into the kernel.
pub trait Mode: Send {
    /// The name as `/proxyMode` tells it, which is upstream's.
    fn name(&self) -> &'static str;

    /// Makes packets find what the model says. `dirty` has what changed in the
    /// model since the last call; after an error, and at first, the mode looks at
    /// everything anyway.
    fn sync(&mut self, model: &Model, dirty: &Dirty) -> anyhow::Result<()>;

    /// Removes what only packets need that were on their way at a `sync` before the
    /// last call. Called at an interval longer than a packet's way through the
    /// rules, while `needs_sweep`, with the model as it was at the last `sync`.
    fn sweep(&mut self, model: &Model) -> anyhow::Result<()>;

    /// Whether `sweep` has something to look at.
    fn needs_sweep(&self) -> bool;

    /// Look at the kernel again at the next `sync`, and repair what differs.
    fn distrust(&mut self);
}
