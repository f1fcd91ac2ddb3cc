//! What the allocator holds and nobody uses.

/// Gives free memory back to the kernel, which the allocator would keep for the next list of
/// all objects, or the next dump of all rules: some tens of megabytes on a large cluster.
pub fn give_back() {
    // SAFETY: takes the allocator's own locks, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
