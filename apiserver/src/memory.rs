//! What the allocator holds and nobody uses.

/// Gives free memory back to the kernel, which the allocator would keep for the next burst of
/// writes. Takes some milliseconds: for times when much was freed at once.
pub fn give_back() {
    // SAFETY: takes the allocator's own locks, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
