//! The embedded engine as processes meet it: locks, kill -9, a file system that is full.
//!
//! This program is also the process that is started, killed or locked out: it starts itself
//! with a role. Everything it starts is waited for or killed by its id.

mod acks;
mod roles;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use acks::Acks;
use futures::StreamExt;
use rustix::{
    event::{PollFd, PollFlags},
    fs::inotify,
};
use store::{Embedded, EmbeddedOptions, Error, Event, ListOptions, Store, WatchItem};

const KILLS: usize = 20;
/// For what a thread does beside the writes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Writes that must be acknowledged before a kill.
const ACKS_BEFORE_KILL: usize = 200;

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(roles::ROLE) {
        return roles::play(&role);
    }
    let tests: [(&str, fn()); 4] = [
        ("kill_nine_loses_no_acknowledged_write", kill_nine),
        ("second_process_is_locked_out_by_name", second_process),
        ("restart_finds_the_same_state", restart),
        ("full_file_system_is_an_error_and_no_damage", full_file_system),
    ];
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part)) {
            // A failure panics: cargo sees the exit code, and the message is above it.
            test();
            eprintln!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// Killed and waited for when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program in a role.
fn role(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .env(roles::ROLE, role)
        .env(roles::DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn open(directory: &Path) -> Embedded {
    let options = EmbeddedOptions { rewrite_log_bytes_min: 0 };
    Embedded::open(directory, options).expect("it opens")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(future)
}

fn kill_nine() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut acks = Acks::default();
    for kill in 0..KILLS {
        let mut writer = Process(role("write", directory.path()).spawn().expect("a writer"));
        let output = writer.0.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(output).lines();
        for _ in 0..ACKS_BEFORE_KILL {
            let line = lines.next().expect("it writes on").expect("text");
            acks.record(&line).unwrap_or_else(|e| panic!("{e}"));
        }
        writer.0.kill().expect("a kill");
        // What it still said before it died counts as well.
        for line in lines {
            let _ = acks.record(&line.expect("text"));
        }
        drop(writer);
        let store = open(directory.path());
        block_on(check(&store, &acks, kill));
    }
    eprintln!("{} acknowledged writes over {KILLS} kills", acks.count());
}

/// Everything acknowledged is there, whole; the history has it once, without a gap.
async fn check(store: &Embedded, acks: &Acks, kill: usize) {
    let list = store.list(ListOptions::default()).await.expect("a list");
    let found = list.items.iter().map(|kv| (&kv.key[..], &kv.value[..]));
    let broken = acks.check(found, roles::WRITERS);
    assert!(broken.is_empty(), "after kill {kill}: {broken:#?}");
    let oldest = (1..=list.revision)
        .find(|revision| {
            let state = futures::executor::block_on(store.get("/", *revision));
            state.is_ok()
        })
        .expect("a kept revision");
    let mut watch = store.watch("", oldest).await.expect("a watch");
    let mut next = oldest.max(2);
    loop {
        match watch.next().await.expect("endless").expect("no error") {
            WatchItem::Progress(revision) => break assert_eq!(revision, next - 1),
            WatchItem::Events(events) => {
                for event in events {
                    let Event::Put { kv, .. } = event else {
                        panic!("nothing was deleted: {event:?}");
                    };
                    assert_eq!(kv.mod_revision, next, "a gap or a repeat");
                    next += 1;
                }
            }
        }
    }
}

fn second_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut holder = Process(role("hold", directory.path()).spawn().expect("a holder"));
    let output = holder.0.stdout.take().expect("a pipe");
    let ready = BufReader::new(output).lines().next();
    assert_eq!(ready.expect("a line").expect("text"), "holding");
    let Err(Error::Locked(message)) = Embedded::open(directory.path(), EmbeddedOptions::default())
    else {
        panic!("the directory is not locked");
    };
    let pid = holder.0.id().to_string();
    assert!(message.contains(&pid), "{message}");
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    drop(holder);
    let store = open(directory.path());
    let again = Embedded::open(directory.path(), EmbeddedOptions::default());
    assert!(matches!(again, Err(Error::Locked(_))), "locked for this process too");
    drop(store);
    open(directory.path());
}

fn restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let describe = |store: &Embedded| {
        block_on(async {
            let mut all = String::new();
            for revision in 1..=store.current_revision().await.expect("a revision") {
                let options = ListOptions { revision, ..Default::default() };
                all += &format!("{:?}\n", store.list(options).await);
            }
            all
        })
    };
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&changes, directory.path(), inotify::WatchFlags::DELETE).expect("a watch");
    let mut before = String::new();
    for round in 0..6 {
        let store = open(directory.path());
        if round > 0 {
            assert_eq!(describe(&store), before, "round {round}");
        }
        block_on(async {
            for i in 0..10 {
                let key = format!("/k/{}", i % 4);
                let value = format!("{round} {i}");
                let ops = match i % 5 {
                    4 => vec![store::Op::Delete { key }],
                    _ => vec![roles::put(&key, value.into_bytes())],
                };
                store.txn(vec![], ops).await.expect("a write");
            }
            let newest = store.current_revision().await.expect("a revision");
            if round % 2 == 1 {
                let former = names(directory.path());
                store.compact(newest - 7).await.expect("a compaction");
                is_rewritten(directory.path(), &former, &changes);
            }
        });
        before = describe(&store);
    }
}

fn names(directory: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Waits until a snapshot and a log have taken the place of the `former` ones: a thread of its own
/// writes the snapshot, and the store's end would stop that.
fn is_rewritten(directory: &Path, former: &BTreeSet<OsString>, changes: &OwnedFd) {
    let until = Instant::now() + PATIENCE;
    loop {
        let names = names(directory);
        let kept: Vec<_> = names.intersection(former).collect();
        if names.len() == 3 && kept == ["lock"] {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        let left = left.try_into().expect("some seconds");
        let mut watched = [PollFd::new(changes, PollFlags::IN)];
        let changed = rustix::event::poll(&mut watched, Some(&left)).expect("polled");
        assert_eq!(changed, 1, "one lock, one snapshot, one log: {names:?}");
        rustix::io::read(changes, &mut [0; 4096]).expect("what changed");
    }
}

fn full_file_system() {
    let directory = tempfile::tempdir().expect("a directory");
    // The mount is in a namespace of the process's own and goes with it.
    let script = "mount -t tmpfs -o size=1m coracle \"$CORACLE_STORE_DIRECTORY\" && exec \"$0\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .env(roles::ROLE, "fill")
        .env(roles::DIRECTORY, directory.path());
    let output = command.output();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output) if words(&output.stdout).contains("filled") => {
            let words = words(&output.stderr);
            assert!(output.status.success(), "{words}");
        }
        other => {
            let why = match other {
                Ok(output) => words(&output.stderr),
                Err(error) => error.to_string(),
            };
            let ci = std::env::var_os("CI").is_some();
            assert!(!ci && !why.contains("panicked"), "no tmpfs of one's own: {why}");
            eprintln!("SKIPPED: no tmpfs of one's own: {why}");
        }
    }
}
