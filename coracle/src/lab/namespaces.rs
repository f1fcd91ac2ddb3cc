//! Makes and enters the kernel's namespaces. Every call here is made by a process
//! that has one thread.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid, setresgid, setresuid};

/// What a lab has of its own.
pub const LAB_FLAGS: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Starts a child in new namespaces, like `fork`. The child runs `body` and ends
/// with the status it returns.
///
/// # Safety
/// The caller has one thread: the child runs ordinary code on a copy of its memory.
pub unsafe fn clone_child(flags: CloneFlags, body: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    let flags = libc::c_long::from(flags.bits()) | libc::c_long::from(libc::SIGCHLD);
    // SAFETY: no new stack and no pointers are given, so this is `fork` with flags;
    // the caller vouches for the single thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(child)? {
        // SAFETY: ends this process and nothing else; the caller's destructors are not its own.
        0 => unsafe { libc::_exit(body()) },
        pid => Ok(Pid::from_raw(pid as libc::pid_t)),
    }
}

/// Writes the id maps of `child`, which has just got a user namespace. Root passes on
/// every id it has; anybody else becomes the namespace's root and nothing more.
pub fn map_ids(child: Pid) -> io::Result<()> {
    let proc = PathBuf::from(format!("/proc/{child}"));
    if geteuid().is_root() && map_all_ids(&proc).is_ok() {
        return Ok(());
    }
    // An unprivileged writer of gid_map must first give up setgroups.
    fs::write(proc.join("setgroups"), "deny")?;
    fs::write(proc.join("uid_map"), format!("0 {} 1", geteuid()))?;
    fs::write(proc.join("gid_map"), format!("0 {} 1", getegid()))
}

fn map_all_ids(proc: &Path) -> io::Result<()> {
    for kind in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(Path::new("/proc/self").join(kind))?;
        fs::write(proc.join(kind), identity_map(&own))?;
    }
    Ok(())
}

/// The map that keeps every id of the parent namespace, given the parent's own map.
fn identity_map(own: &str) -> String {
    own.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}

/// Becomes the user namespace's root once its maps are written.
pub fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Cuts the mount namespace off from the host's: nothing propagates either way.
pub fn isolate_mounts() -> Result<(), Errno> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Mounts a `proc` that shows the new process namespace.
pub fn mount_proc() -> Result<(), Errno> {
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
}

/// Mounts a small tmpfs at `directory`, seen by the lab alone.
pub fn mount_scratch(directory: &Path) -> Result<(), Errno> {
    mount(
        Some("coracle"),
        directory,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("size=16m,mode=0755"),
    )
}

/// Makes a network namespace, keeps it alive as the file `at`, and runs `inside` in it.
/// The caller's own namespace does not change.
pub fn make_network<T: Send>(
    at: &Path,
    inside: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    File::create(at)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            pin_network(at)?;
            inside()
        });
        thread.join().unwrap_or_else(|_| {
            Err(anyhow::anyhow!("the thread that makes {} panicked", at.display()))
        })
    })
}

/// Keeps the calling thread's network namespace alive as the file `at`.
pub fn pin_network(at: &Path) -> Result<(), Errno> {
    mount(Some("/proc/thread-self/ns/net"), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// Moves the calling thread into the network namespace kept at `path`.
pub fn enter_network(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    Ok(setns(&file, CloneFlags::CLONE_NEWNET)?)
}

/// Gives the calling process a host name of its own.
pub fn own_hostname(name: &str) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(name)
}

/// The namespaces of a running lab, opened from the host before any is entered.
pub struct LabNamespaces {
    user: OwnedFd,
    rest: Vec<(CloneFlags, OwnedFd)>,
}

impl LabNamespaces {
    /// Opens those of process `pid`.
    pub fn open(pid: i32) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}")).map(OwnedFd::from);
        Ok(Self {
            user: open("user")?,
            rest: vec![
                (CloneFlags::CLONE_NEWIPC, open("ipc")?),
                (CloneFlags::CLONE_NEWUTS, open("uts")?),
                (CloneFlags::CLONE_NEWNET, open("net")?),
                (CloneFlags::CLONE_NEWPID, open("pid")?),
                (CloneFlags::CLONE_NEWNS, open("mnt")?),
            ],
        })
    }

    /// Enters all. The process namespace holds for children started after this.
    pub fn enter(&self) -> Result<(), Errno> {
        setns(&self.user, CloneFlags::CLONE_NEWUSER)?;
        for (kind, fd) in &self.rest {
            setns(fd, *kind)?;
        }
        become_root()
    }
}

#[cfg(test)]
mod tests {
    use super::identity_map;

    #[test]
    fn root_keeps_every_id_of_its_namespace() {
        assert_eq!(identity_map("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(identity_map("0 100000 1000\n5000 300000 10\n"), "0 0 1000\n5000 5000 10\n");
    }
}
