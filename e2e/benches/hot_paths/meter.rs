//! What `/proc` says about processes: time on a processor, and memory.

use std::collections::HashMap;
use std::fs;

use anyhow::Context;

use crate::figure::Figure;

/// Clock ticks a second in `/proc/PID/stat`, on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

/// A process that is watched, by a name for people.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub pid: u32,
}

impl Process {
    /// Time on a processor so far, in seconds.
    pub fn cpu_s(&self) -> anyhow::Result<f64> {
        let fields = stat(self.pid).with_context(|| format!("{} has ended", self.name))?;
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        // Counted from the state, which is the third field: utime is the 14th, stime the 15th.
        let (user, system) = (ticks(11), ticks(12));
        Ok((user.context("utime")? + system.context("stime")?) / TICKS_PER_S)
    }

    /// (RSS, PSS) in MB, 10⁶ bytes.
    pub fn memory_mb(&self) -> anyhow::Result<(f64, f64)> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))
            .with_context(|| format!("memory of {}", self.name))?;
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let mb = |name: &str| kib(name).map(|kib| kib * 1024.0 / 1e6);
        Ok((mb("Rss:").context("Rss")?, mb("Pss:").context("Pss")?))
    }
}

/// The fields of `/proc/PID/stat` after the name, which may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// A process and all that came from it, itself first, as far as they run now.
pub fn descendants(root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let parent = stat(pid).and_then(|fields| fields.get(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found.into_iter().map(|pid| Process { name: name_of(pid), pid }).collect()
}

/// The first word of the command line that is a name: of `coracle apiserver --flag` and of
/// `apiserver --flag` it is `apiserver`.
fn name_of(pid: u32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split('\0').map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next().unwrap_or_default();
    let component = first.starts_with("coracle") || first == "exe";
    let second = words.next().filter(|word| component && !word.starts_with('-'));
    second.unwrap_or(first).to_owned()
}

/// Time on a processor between two looks.
pub struct Span<'a> {
    processes: &'a [Process],
    before: Vec<f64>,
}

impl<'a> Span<'a> {
    /// Starts now.
    pub fn start(processes: &'a [Process]) -> anyhow::Result<Self> {
        let before = processes.iter().map(Process::cpu_s).collect::<anyhow::Result<_>>()?;
        Ok(Self { processes, before })
    }

    /// Seconds since the start, a process.
    pub fn end(&self) -> anyhow::Result<Vec<(&'a str, f64)>> {
        let used = |(process, before): (&'a Process, &f64)| {
            Ok((process.name.as_str(), process.cpu_s()? - before))
        };
        self.processes.iter().zip(&self.before).map(used).collect()
    }

    /// A figure for each process: the time since the start, `scale`d. `goals` are by name.
    pub fn figures(
        &self,
        what: &str,
        unit: &'static str,
        scale: f64,
        goals: &[(&str, f64)],
    ) -> anyhow::Result<Vec<Figure>> {
        let figure = |(name, seconds): (&str, f64)| {
            let figure = Figure::new(format!("{what}, {name}"), unit, seconds * scale);
            match goals.iter().find(|(of, _)| *of == name) {
                Some((_, goal)) => figure.goal(*goal),
                None => figure,
            }
        };
        Ok(self.end()?.into_iter().map(figure).collect())
    }
}
