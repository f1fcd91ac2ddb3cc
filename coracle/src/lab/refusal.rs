//! Why a lab cannot be made here: from the step and the error to the setting that
//! forbids it.

use std::fs;

use nix::errno::Errno;

/// Settings that forbid or limit what a lab needs, with the value that does, and the fix.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    ("user/max_net_namespaces", "0", "sudo sysctl -w user.max_net_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this program that allows `userns`",
    ),
    (
        "kernel/unprivileged_userns_apparmor_policy",
        "1",
        "sudo sysctl -w kernel.unprivileged_userns_apparmor_policy=0",
    ),
];

/// The message for a lab that failed at `step`.
pub fn explain(step: &str, detail: &str, errno: i32) -> String {
    let read = |key: &str| {
        fs::read_to_string(format!("/proc/sys/{key}")).ok().map(|value| value.trim().to_owned())
    };
    message(step, detail, errno, read, in_container())
}

fn message(
    step: &str,
    detail: &str,
    errno: i32,
    read: impl Fn(&str) -> Option<String>,
    in_container: bool,
) -> String {
    let mut text = format!("a lab cannot be made here: {step}: {detail}");
    let forbidden =
        [Errno::EPERM, Errno::EACCES, Errno::ENOSPC, Errno::EUSERS, Errno::EINVAL, Errno::EROFS]
            .contains(&Errno::from_raw(errno));
    if !forbidden {
        return text;
    }
    let mut found = false;
    for (key, bad, fix) in SETTINGS {
        if read(key).as_deref() == Some(bad) {
            found = true;
            text.push_str(&format!("\n  {} is {bad}; to allow it: {fix}", key.replace('/', ".")));
        }
    }
    if !found && Errno::from_raw(errno) == Errno::ENOSPC {
        found = true;
        text.push_str("\n  the limit user.max_user_namespaces (or one of its siblings, user.max_*_namespaces) is reached: raise it with sysctl");
    }
    if in_container {
        found = true;
        text.push_str("\n  this is a container: its seccomp or AppArmor profile forbids namespaces or mounts; with Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined");
    }
    if !found {
        text.push_str("\n  user namespaces are forbidden by something other than the usual settings (kernel.unprivileged_userns_clone, user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns): a seccomp filter, a chroot, or a kernel without CONFIG_USER_NS");
    }
    text.push_str("\n  `coracle up --control-plane-only` runs the API server and the controllers without any namespace");
    text
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|path| std::path::Path::new(path).exists())
        || std::env::var_os("container").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_setting() {
        let cases = [
            (
                "kernel/unprivileged_userns_clone",
                "0",
                Errno::EPERM,
                "kernel.unprivileged_userns_clone is 0",
            ),
            ("user/max_user_namespaces", "0", Errno::ENOSPC, "user.max_user_namespaces is 0"),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                Errno::EACCES,
                "kernel.apparmor_restrict_unprivileged_userns is 1",
            ),
            ("none", "", Errno::ENOSPC, "limit user.max_user_namespaces"),
            ("none", "", Errno::EPERM, "seccomp filter"),
        ];
        for (key, value, errno, expected) in cases {
            let read = |asked: &str| (asked == key).then(|| value.to_owned());
            let text = message("mount proc", "no", errno as i32, read, false);
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("--control-plane-only"), "{text}");
        }
        let text = message("x", "no", Errno::EPERM as i32, |_| None, true);
        assert!(text.contains("seccomp=unconfined"), "{text}");
        assert_eq!(message("x", "no", 0, |_| None, true), "a lab cannot be made here: x: no");
    }
}
