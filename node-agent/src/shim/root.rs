//! Builds a container's root file system in the calling process's own mount namespace, and enters it.
//!
//! Made for a user namespace in which a single user is mapped: devices are bound, not made,
//! nothing is chowned, and a `/proc` that may not be mounted is bound. Never writes to the
//! host's files: what comes from there is mounted read-only.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::spec::{ContainerSpec, MountSpec, RootSpec};

/// Size bound of a container's writable root: pages are charged only when written.
pub const ROOT_MAX_BYTES: u64 = 256 << 20;
/// Where the host's `/etc` can be seen in a [`RootSpec::Host`] container.
const HOST_ETC: &str = "run/host/etc";
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Top-level names of the host that a [`RootSpec::Host`] container has versions of its own of.
const OWN_NAMES: [&str; 6] = ["proc", "dev", "sys", "tmp", "run", "etc"];

/// Makes the container's root at `mount_point` and turns it into `/`.
pub fn build_and_enter(spec: &ContainerSpec, mount_point: &Path) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context("keep mounts from reaching the node")?;
    fs::create_dir_all(mount_point).with_context(|| format!("make {}", mount_point.display()))?;
    let options = format!("mode=755,size={ROOT_MAX_BYTES}");
    mount(Some("tmpfs"), mount_point, Some("tmpfs"), MsFlags::MS_NOSUID, Some(options.as_str()))
        .context("mount the root's tmpfs")?;
    for name in ["proc", "dev", "sys", "tmp", "run", "etc", "var"] {
        fs::create_dir_all(mount_point.join(name))?;
    }
    set_mode(&mount_point.join("tmp"), 0o1777)?;
    match &spec.root {
        RootSpec::Builtin { binary } => fill_builtin(mount_point, binary)?,
        RootSpec::Host => fill_from_host(mount_point)?,
    }
    mount_proc(mount_point)?;
    mount_sys(mount_point, spec.privileged)?;
    fill_dev(mount_point, spec.tty)?;
    for volume in &spec.mounts {
        bind_volume(mount_point, volume)?;
    }
    enter(mount_point)?;
    fs::create_dir_all(&spec.cwd).ok();
    chdir(spec.cwd.as_str()).with_context(|| format!("enter working directory {}", spec.cwd))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn fill_builtin(root: &Path, binary: &Path) -> Result<()> {
    for name in ["bin", "root", "var/run", "var/log", "var/tmp", "home"] {
        fs::create_dir_all(root.join(name))?;
    }
    let program = root.join("bin/coracle");
    fs::write(&program, "")?;
    bind(binary, &program, true)?;
    for name in ["usr", "lib", "lib64", "lib32", "libx32"] {
        share_from_host(root, name)?;
    }
    for shell in ["sh", "bash"] {
        let target = format!("/usr/bin/{shell}");
        if Path::new(&target).exists() {
            symlink(&target, root.join("bin").join(shell)).ok();
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    // A name that stands in /etc/hosts twice has both addresses.
    fs::write(root.join("etc/host.conf"), "multi on\n")?;
    for name in ["ld.so.cache", "ssl", "alternatives"] {
        let source = Path::new("/etc").join(name);
        let target = root.join("etc").join(name);
        if source.is_dir() {
            fs::create_dir_all(&target)?;
            bind(&source, &target, true).ok();
        } else if source.is_file() {
            fs::copy(&source, &target).ok();
        }
    }
    Ok(())
}

/// Everything at the top of the host's root, read-only, but for [`OWN_NAMES`].
fn fill_from_host(root: &Path) -> Result<()> {
    for entry in fs::read_dir("/").context("read the host's root")? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !OWN_NAMES.contains(&name.as_ref()) {
            share_from_host(root, &name)?;
        }
    }
    fs::create_dir_all(root.join("var/tmp")).ok();
    let host_etc = root.join(HOST_ETC);
    fs::create_dir_all(&host_etc)?;
    bind(Path::new("/etc"), &host_etc, true)?;
    for entry in fs::read_dir("/etc").context("read the host's /etc")? {
        let name = entry?.file_name();
        symlink(Path::new("/").join(HOST_ETC).join(&name), root.join("etc").join(&name)).ok();
    }
    // These are files of the pod's own, bound later where the pod has them.
    for name in ["hosts", "hostname", "resolv.conf", "mtab"] {
        fs::remove_file(root.join("etc").join(name)).ok();
    }
    Ok(())
}

/// Shows `/name` of the host at the same place: a link as a link, anything else as a read-only mount.
fn share_from_host(root: &Path, name: &str) -> Result<()> {
    let source = Path::new("/").join(name);
    let target = root.join(name);
    let Ok(kind) = fs::symlink_metadata(&source) else {
        return Ok(());
    };
    if kind.is_symlink() {
        symlink(fs::read_link(&source)?, &target).ok();
    } else if kind.is_dir() {
        fs::create_dir_all(&target)?;
        // A directory that may not be bound (another user's mount, say) is left empty.
        bind(&source, &target, true).ok();
    }
    Ok(())
}

fn mount_proc(root: &Path) -> Result<()> {
    let target = root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("proc"), &target, Some("proc"), flags, None::<&str>).is_ok() {
        return Ok(());
    }
    bind(Path::new("/proc"), &target, false).context("neither mount nor bind /proc")
}

fn mount_sys(root: &Path, privileged: bool) -> Result<()> {
    let target = root.join("sys");
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if !privileged {
        flags |= MsFlags::MS_RDONLY;
    }
    if mount(Some("sysfs"), &target, Some("sysfs"), flags, None::<&str>).is_err() {
        // Refused outside a network namespace of one's own, and nothing needs it.
        bind(Path::new("/sys"), &target, true).ok();
    }
    Ok(())
}

fn fill_dev(root: &Path, tty: bool) -> Result<()> {
    let dev = root.join("dev");
    mount(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=64k"))
        .context("mount /dev")?;
    for name in DEVICES {
        let target = dev.join(name);
        fs::write(&target, "")?;
        bind(&Path::new("/dev").join(name), &target, false)
            .with_context(|| format!("bind /dev/{name}"))?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(link))?;
    }
    fs::create_dir(dev.join("pts"))?;
    // No gid=5: that group is not mapped.
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some(options),
    )
    .context("mount /dev/pts")?;
    fs::create_dir(dev.join("shm"))?;
    mount(
        Some("tmpfs"),
        &dev.join("shm"),
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=1777,size=64m"),
    )
    .context("mount /dev/shm")?;
    if tty && let Ok(terminal) = fs::read_link("/proc/self/fd/0") {
        fs::write(dev.join("console"), "")?;
        bind(&terminal, &dev.join("console"), false).ok();
    }
    Ok(())
}

fn bind_volume(root: &Path, volume: &MountSpec) -> Result<()> {
    let target = inside(root, &volume.target)?;
    let source = fs::metadata(&volume.source)
        .with_context(|| format!("volume source {}", volume.source.display()))?;
    let made = if source.is_dir() {
        fs::create_dir_all(&target)
    } else {
        fs::create_dir_all(target.parent().unwrap_or(root))
            .and_then(|()| fs::OpenOptions::new().append(true).create(true).open(&target).map(drop))
    };
    if !target.exists() {
        made.with_context(|| {
            format!(
                "make mount point {} (the image's own directories are read-only)",
                volume.target
            )
        })?;
    }
    bind(&volume.source, &target, volume.read_only)
        .with_context(|| format!("mount {} at {}", volume.source.display(), volume.target))
}

/// `target` below `root`; links on the way are followed as if `root` were `/`.
fn inside(root: &Path, target: &str) -> Result<PathBuf> {
    let mut path = root.to_path_buf();
    let mut pending: Vec<String> =
        target.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        match part.as_str() {
            "." => continue,
            ".." => {
                if path != root {
                    path.pop();
                }
                continue;
            }
            _ => path.push(&part),
        }
        if let Ok(link) = fs::read_link(&path) {
            links += 1;
            if links > 40 {
                bail!("too many links on the way to {target}");
            }
            let link = link.to_string_lossy().into_owned();
            path = if link.starts_with('/') {
                root.to_path_buf()
            } else {
                path.parent().unwrap_or(root).to_path_buf()
            };
            pending
                .extend(link.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned));
        }
    }
    Ok(path)
}

/// A recursive bind mount: in a user namespace a bind that left sub-mounts out would uncover what they hide, and is refused.
fn bind(source: &Path, target: &Path, read_only: bool) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("bind {}", source.display()))?;
    if read_only {
        set_read_only(target)?;
    }
    Ok(())
}

fn set_read_only(target: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(target.as_os_str().as_bytes())?;
    let attributes = nix::libc::mount_attr {
        attr_set: nix::libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is NUL-terminated, the structure lives through the call, and its size is passed along.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            nix::libc::AT_FDCWD,
            path.as_ptr(),
            nix::libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<nix::libc::mount_attr>(),
        )
    };
    nix::errno::Errno::result(result)
        .map(drop)
        .with_context(|| format!("make {} read-only", target.display()))
}

fn enter(root: &Path) -> Result<()> {
    chdir(root)?;
    pivot_root(".", ".").context("pivot into the container's root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leave the node's root")?;
    chdir("/").context("enter the container's root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("data")).unwrap();
        symlink("/data", root.join("absolute")).unwrap();
        symlink("../../../data", root.join("data/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (target, want) in [
            ("/a/b", "a/b"),
            ("/../../a", "a"),
            ("/absolute/x", "data/x"),
            ("/data/up/y", "data/y"),
            ("//data/./z", "data/z"),
        ] {
            assert_eq!(inside(root, target).unwrap(), root.join(want), "{target}");
        }
        assert!(inside(root, "/loop/x").is_err());
    }
}
