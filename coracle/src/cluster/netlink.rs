//! Links and routes by netlink, from a thread that has no runtime yet.

use anyhow::{Context, Result};
use rtnetlink::Handle;

/// Runs `work` on a runtime of its own; its netlink socket belongs to the calling
/// thread's namespace.
pub fn in_runtime<F: Future<Output = Result<()>>>(work: impl FnOnce(Handle) -> F) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle).await
    })
}

/// Number of the link of this name.
pub fn index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).with_context(|| format!("find the link {name}"))
}
