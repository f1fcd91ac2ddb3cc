//! The host's programs: `iptables-save` and `iptables-restore`. Never knows what the rules
//! mean, and never waits longer than a limit for a program.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::batch::Limit;
use crate::nft::netlink;
use crate::routes::Family;

/// A program that takes longer is ended, and the sync fails.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// How long to wait for others who change rules, as upstream.
const WAIT_SECONDS: &str = "5";
/// What is read of a program's output at most: more rules than that are an error.
const MAX_OUTPUT_BYTES: u64 = 512 << 20;
/// What of an error's text is shown.
const MAX_ERROR_CHARS: usize = 600;
/// The programs' names tell one backend from the other; without a word it is the machine's
/// choice.
const BACKENDS: [&str; 3] = ["", "-nft", "-legacy"];
/// How the programs say, beside the operating system's words, that the kernel has no such
/// tables.
const NO_TABLES: [&str; 5] = [
    "Operation not supported",
    "Protocol not supported",
    "Protocol not available",
    "Address family not supported by protocol",
    "Table does not exist",
];
/// How the legacy programs say that they may not read which tables there are. In a user
/// namespace nobody may, so that no proxy can have made rules with them there.
const UNLISTED: &str = "Failed to list table names";
/// Who is who in the initial user namespace (`/proc/self/uid_map`): itself.
const INITIAL_IDS: [&str; 3] = ["0", "0", "4294967295"];
/// Where the programs are when `PATH` does not say.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// What the mode needs of a kernel, as text; tests put another in its place.
pub trait Rules: Send {
    /// All tables that there are, in the notation of `iptables-save`.
    fn save(&mut self) -> Result<String>;

    /// Does what the text for `iptables-restore --noflush` says: a transaction for each
    /// `COMMIT`. After an error any number of whole transactions may have been done.
    fn restore(&mut self, input: &str) -> Result<()>;

    /// How large a transaction may be.
    fn limit(&self) -> Limit;

    /// Whether the kernel can remember clients (`xt_recent`).
    fn remembers(&self) -> bool {
        true
    }

    /// A number that grows by one with each transaction of anybody; `None`: nobody counts.
    fn generation(&mut self) -> Option<u32> {
        None
    }
}

/// The programs of one family.
#[derive(Clone, Debug)]
pub struct Programs {
    save: PathBuf,
    restore: PathBuf,
    limit: Limit,
    remembers: bool,
}

/// What this mode's rules are made of beside addresses, for a trial: nothing of it is
/// written.
const TRIAL: &str = "*filter
:KUBE-PROXY-CANARY - [0:0]
-A KUBE-PROXY-CANARY -m comment --comment trial -m conntrack --ctstate NEW -j REJECT
COMMIT
*nat
:KUBE-PROXY-CANARY - [0:0]
-A KUBE-PROXY-CANARY -m addrtype --dst-type LOCAL -m mark --mark 0x1/0x1 -j MARK --set-xmark 0x1/0x1
-A KUBE-PROXY-CANARY -m statistic --mode random --probability 0.5 -j MASQUERADE --random-fully
-A KUBE-PROXY-CANARY -m recent --set --name KUBE-PROXY-CANARY --rsource -j RETURN
COMMIT
";
/// How the programs say that the kernel lacks something: its name is between these.
const LACKS: (&str, &str) = ("Extension ", " revision");

impl Programs {
    /// The programs at these paths, not yet tried.
    pub fn at(save: PathBuf, restore: PathBuf) -> Programs {
        Programs { save, restore, limit: Limit::NFT, remembers: true }
    }

    /// Finds the programs of one backend, empty for the one that the machine prefers; `None`
    /// where the machine does not have them.
    fn find(family: Family, backend: &str) -> Option<Programs> {
        let start = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let save = look_up(&format!("{start}{backend}-save"))?;
        let restore = look_up(&format!("{start}{backend}-restore"))?;
        Some(Programs::at(save, restore))
    }

    /// The programs of every backend that the machine has, each once. Those of one see
    /// nothing of what the other has made.
    pub fn find_all(family: Family) -> Vec<Programs> {
        let mut all: Vec<Programs> = Vec::new();
        let mut seen = BTreeSet::new();
        for backend in BACKENDS {
            // Many names lead to one file for each backend.
            let found = Programs::find(family, backend);
            all.extend(found.filter(|programs| match programs.save.canonicalize() {
                Ok(file) => seen.insert(file),
                Err(_) => true,
            }));
        }
        all
    }

    /// Finds the programs, and out how they work here.
    ///
    /// # Errors
    /// They are not there, do not run, or may not read the rules.
    pub fn open(family: Family) -> Result<Programs> {
        let programs = Programs::find(family, "").context(
            "iptables-save and iptables-restore are not on this machine: install the package iptables, or use mode nftables",
        )?;
        programs.tried()
    }

    /// The programs, once they have run.
    ///
    /// # Errors
    /// They do not run, or may not read the rules.
    pub fn tried(mut self) -> Result<Programs> {
        let version = run(&self.restore, &["--version"], None)?;
        if !version.output.contains("nf_tables") {
            self.limit = Limit::LEGACY;
        }
        let arguments = ["--noflush", "--test", "--wait", WAIT_SECONDS];
        let trial = run(&self.restore, &arguments, Some(TRIAL))
            .context("cannot make rules as mode iptables has them")?;
        let mut lacking: BTreeSet<&str> = trial.errors.lines().filter_map(lacking).collect();
        self.remembers = !lacking.remove("recent");
        if !self.remembers {
            tracing::warn!("the kernel has no xt_recent: session affinity is not kept");
        }
        if !lacking.is_empty() {
            let names: Vec<String> = lacking.iter().map(|name| format!("xt_{name}")).collect();
            bail!(
                "the kernel lacks what mode iptables needs: {}; load these modules, or use mode nftables",
                names.join(", ")
            );
        }
        self.save().context(
            "cannot read the iptables rules: the agent needs CAP_NET_ADMIN, and the kernel iptables' modules",
        )?;
        Ok(self)
    }
}

impl Rules for Programs {
    fn save(&mut self) -> Result<String> {
        Ok(run(&self.save, &[], None)?.output)
    }

    fn restore(&mut self, input: &str) -> Result<()> {
        let arguments = ["--noflush", "--wait", WAIT_SECONDS];
        run(&self.restore, &arguments, Some(input)).map(drop)
    }

    fn limit(&self) -> Limit {
        self.limit
    }

    fn remembers(&self) -> bool {
        self.remembers
    }

    fn generation(&mut self) -> Option<u32> {
        if self.limit != Limit::NFT {
            return None;
        }
        netlink::generation()
    }
}

/// The kernel has not what a program needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unsupported(String);

/// Whether there can be no rules, since the program is not there or the kernel cannot have
/// any; every other error is one of the moment, or of rights.
pub fn says_there_are_none(error: &anyhow::Error) -> bool {
    let system = error.downcast_ref::<std::io::Error>();
    error.is::<Unsupported>() || system.is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

/// The extension that this line says is not in the kernel.
fn lacking(line: &str) -> Option<&str> {
    let name = line.split_once(LACKS.0)?.1.split_once(LACKS.1)?.0;
    line.contains("not supported").then_some(name)
}

/// What a program printed.
struct Printed {
    output: String,
    errors: String,
}

fn look_up(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.map(PathBuf::from))
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// Runs a program to its end and returns what it printed. Other tasks of the runtime go on
/// meanwhile, where it has more than one thread.
fn run(program: &Path, arguments: &[&str], input: Option<&str>) -> Result<Printed> {
    let many = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if Handle::try_current().is_ok_and(many) {
        tokio::task::block_in_place(|| run_now(program, arguments, input))
    } else {
        run_now(program, arguments, input)
    }
}

fn run_now(program: &Path, arguments: &[&str], input: Option<&str>) -> Result<Printed> {
    let name = program.display();
    let mut child = Command::new(program)
        .args(arguments)
        // What it says is looked at.
        .env("LC_ALL", "C")
        .stdin(match input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let stdin = child.stdin.take().zip(input);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (done, ended) = mpsc::channel();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some((mut stdin, input)) = stdin {
                // One that has ended early says itself why.
                let _ = stdin.write_all(input.as_bytes());
            }
        });
        let errors = scope.spawn(move || read(stderr));
        scope.spawn(move || {
            let _ = done.send(read(stdout));
        });
        // A program that has closed its output is about to end.
        let output = ended.recv_timeout(TIME_LIMIT);
        if output.is_err() {
            let _ = child.kill();
        }
        let status = child.wait();
        let errors = errors.join().unwrap_or_else(|_| Ok(String::new()));
        (output, status, errors)
    });
    let (output, status, errors) = outcome;
    let errors = errors.unwrap_or_default();
    let Ok(output) = output else {
        bail!("{name} did not end within {} s", TIME_LIMIT.as_secs());
    };
    let status = status.with_context(|| format!("cannot wait for {name}"))?;
    if !status.success() {
        let errors: String = errors.trim().chars().take(MAX_ERROR_CHARS).collect();
        let says = format!("{name} failed ({status}): {errors}");
        let has_none = NO_TABLES.iter().any(|words| errors.contains(words))
            || errors.contains(UNLISTED) && is_in_user_namespace();
        if has_none {
            return Err(Unsupported(says).into());
        }
        bail!(says);
    }
    let output = output.with_context(|| format!("cannot read what {name} prints"))?;
    Ok(Printed { output, errors })
}

fn is_in_user_namespace() -> bool {
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !ids.split_whitespace().eq(INITIAL_IDS)
}

fn read(from: Option<impl Read>) -> std::io::Result<String> {
    let mut text = String::new();
    if let Some(from) = from {
        from.take(MAX_OUTPUT_BYTES + 1).read_to_string(&mut text)?;
    }
    if text.len() as u64 > MAX_OUTPUT_BYTES {
        let message = format!("more than {MAX_OUTPUT_BYTES} bytes");
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}
