//! What a container that is not privileged may do: the set that container engines leave by default.
//!
//! Never raises anything: bits outside the wanted set are dropped from the bounding set, and
//! `exec` as user 0 then gets what remains.

use anyhow::{Context, Result};

/// Names by number, as in the kernel's `capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// The number of a capability named as in a pod's `securityContext`, with or without `CAP_`.
pub fn number(name: &str) -> Option<u8> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES.iter().position(|known| *known == name).map(|position| position as u8)
}

/// All capabilities, for `add: ["ALL"]`.
pub fn all() -> impl Iterator<Item = u8> {
    0..NAMES.len() as u8
}

/// Drops what is neither in the default set nor in `added` from the calling process's bounding set.
pub fn limit(added: &[u8]) -> Result<()> {
    for (position, name) in NAMES.iter().enumerate() {
        let wanted = DEFAULT.contains(name) || added.contains(&(position as u8));
        if !wanted && is_bounding(position) {
            // SAFETY: as above.
            let result = unsafe {
                nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, position as nix::libc::c_ulong)
            };
            nix::errno::Errno::result(result).with_context(|| format!("drop CAP_{name}"))?;
        }
    }
    Ok(())
}

fn is_bounding(number: usize) -> bool {
    // SAFETY: prctl with plain numbers; it fails with EINVAL for a number this kernel does not know.
    unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_READ, number as nix::libc::c_ulong) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, want) in [
            ("CHOWN", Some(0)),
            ("NET_ADMIN", Some(12)),
            ("cap_sys_admin", Some(21)),
            ("CHECKPOINT_RESTORE", Some(40)),
            ("X", None),
        ] {
            assert_eq!(number(name), want, "{name}");
        }
    }
}
