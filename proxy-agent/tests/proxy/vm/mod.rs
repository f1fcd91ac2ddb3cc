//! A small virtual machine with Debian's kernel, for what this machine's kernel lacks:
//! IPVS and `dummy`. Runs this same test program inside, as root. Never has a network
//! device, a disk or more than its time.
//!
//! Tests that need it are written with `in_vm`. The first of a group boots the machine once
//! for all of it; inside, the same tests run by their names, and each takes its verdict from
//! what the machine printed.

mod image;
mod kernel;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::network;

/// Set inside the machine.
const INSIDE: &str = "CORACLE_TEST_VM";
/// The last line of a machine that did what it was asked.
const END: &str = "vm-tests-ended-with";
/// How long the machine may live; emulated on a busy machine it needs a few minutes at most.
const TIME: Duration = Duration::from_secs(900);
/// Megabytes. The image is in memory twice while it is unpacked.
const MEMORY: &str = "768";

/// What a machine printed, or why there was none.
enum Machine {
    Ran(String),
    Missing(String),
}

/// Runs `test`, called `name` by the test harness, in a network namespace of a virtual
/// machine whose tests are all those with `group` in their names. Where there cannot be
/// one: said aloud, or a failure in CI.
pub fn in_vm(group: &'static str, name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // The test's own thread, and whatever it starts.
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        return test();
    }
    static MACHINES: Mutex<BTreeMap<&str, Arc<Machine>>> = Mutex::new(BTreeMap::new());
    let machine = {
        let mut machines = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machines.entry(group).or_insert_with(|| {
            Arc::new(match run(group) {
                Ok(output) => Machine::Ran(output),
                Err(missing) => Machine::Missing(missing),
            })
        });
        machine.clone()
    };
    match &*machine {
        Machine::Missing(missing) => {
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            // Not `eprintln!`, which the harness keeps to itself.
            let _ = writeln!(io::stderr(), "SKIPPED {name}: {missing}");
        }
        Machine::Ran(output) => {
            assert!(
                output.lines().any(|line| line.trim_end() == format!("test {name} ... ok")),
                "{name} in a virtual machine:\n{output}"
            );
        }
    }
}

/// Boots, and gives what the machine printed; an error says what is missing.
fn run(group: &str) -> Result<String, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the virtual machine's kernel is for x86_64".to_owned());
    }
    let kernel = kernel::unpacked()?;
    let image = image::build(&kernel, &script(group))?;
    let mut machine = Command::new("qemu-system-x86_64");
    // SAFETY: between fork and exec only one system call is made.
    unsafe { machine.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    let mut machine = machine
        .args(["-machine", "q35", "-cpu", "max", "-m", MEMORY, "-smp", "2"])
        // Emulation needs no rights, and is there everywhere.
        .args(["-accel", "tcg", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image.path())
        .args([
            "-append",
            "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-x86_64: {error}; install qemu-system-x86"))?;
    let console = reader(machine.stdout.take().expect("its output"));
    let complaints = reader(machine.stderr.take().expect("its errors"));
    let begin = Instant::now();
    let mut hung = "";
    while machine.try_wait().expect("the machine's state").is_none() {
        if begin.elapsed() > TIME {
            hung = "killed after its time was over\n";
            machine.kill().expect("killed");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let console = console.join().expect("read");
    let complaints = complaints.join().expect("read");
    // A machine that ended early has failed, and is no reason to skip.
    if !console.contains(END) {
        return Ok(format!("{console}\n{complaints}\n{hung}"));
    }
    Ok(console)
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Cut off is as good as ended.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    })
}

/// What the machine's first process does.
fn script(group: &str) -> String {
    let mut script = "#!/bin/busybox sh\nexport PATH=/bin\n\
         busybox mount -t proc proc /proc\n\
         busybox mount -t sysfs sys /sys\n\
         busybox mount -t devtmpfs dev /dev\n\
         busybox mount -t tmpfs tmp /tmp\n\
         for module in $(busybox cat /modules/order); do\n\
           busybox insmod /modules/$module.ko || echo \"cannot load $module\"\n\
         done\n"
        .to_owned();
    script += &format!(
        "ulimit -n 65536\n\
         export {INSIDE}=1 {}=1\n\
         /bin/tests --test-threads=2 {group}\n\
         echo {END} $?\n\
         busybox poweroff -f\n",
        network::INSIDE
    );
    script
}
