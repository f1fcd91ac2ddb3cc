//! The machine's file system: this program, a few tools with their libraries, and kernel
//! modules in the order in which they can be loaded. An archive in cpio's `newc` format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::NamedTempFile;

use super::kernel::{Kernel, run};

/// Programs that tests inside call, with the Debian package of each.
const TOOLS: [(&str, &str); 4] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("ipvsadm", "ipvsadm"),
    ("nft", "nftables"),
];
/// Modules that the modes and their tests need; what these need is found.
const MODULES: [&str; 20] = [
    "dummy",
    "veth",
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_lc",
    "ip_vs_sh",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_hash",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_limit",
    "nft_objref",
];

/// Builds the image around `init`, a shell script.
pub fn build(kernel: &Kernel, init: &str) -> Result<NamedTempFile, String> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp", "modules"] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, init.as_bytes());
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    archive.program("tests", &own)?;
    for (name, package) in TOOLS {
        let path = find(name).ok_or_else(|| format!("`{name}` is missing: install {package}"))?;
        archive.program(name, &path)?;
    }
    archive.modules(&kernel.modules)?;
    let mut file = NamedTempFile::new().map_err(|error| error.to_string())?;
    file.write_all(&archive.finish()).map_err(|error| error.to_string())?;
    Ok(file)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join(name)).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
    libraries: BTreeSet<PathBuf>,
}

impl Archive {
    /// One entry: a header of thirteen hexadecimal numbers, the name, the content.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = content.len();
        let length = name.len() + 1;
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}",
            self.entries, 0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn folder(&mut self, name: &str) {
        if self.folders.insert(name.to_owned()) {
            self.entry(name, 0o040_755, &[]);
        }
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    /// A program in `/bin`, and its libraries where it looks for them.
    fn program(&mut self, name: &str, path: &Path) -> Result<(), String> {
        self.file(&format!("bin/{name}"), 0o755, &stripped(path)?);
        // A static program has none, which `ldd` calls a failure.
        let text = run(Command::new("ldd").arg(path)).unwrap_or_default();
        for word in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = PathBuf::from(word);
            if self.libraries.insert(library.clone()) {
                self.parents(word.trim_start_matches('/'));
                self.file(word.trim_start_matches('/'), 0o755, &read(&library)?);
            }
        }
        Ok(())
    }

    /// The folders above a file.
    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.folder(&path[..end]);
        }
    }

    fn modules(&mut self, tree: &Path) -> Result<(), String> {
        let mut paths = BTreeMap::new();
        collect(tree, &mut paths)?;
        let mut order = Vec::new();
        for module in MODULES {
            add_module(module, &paths, &mut order)?;
        }
        for module in &order {
            let content = read(&paths[module])?;
            self.file(&format!("modules/{module}.ko"), 0o644, &content);
        }
        self.file("modules/order", 0o644, order.join("\n").as_bytes());
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// Without what only a debugger reads, where `strip` is there.
fn stripped(path: &Path) -> Result<Vec<u8>, String> {
    let target = NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(target.path()).arg(path);
    match run(&mut strip) {
        Ok(_) => read(target.path()),
        Err(_) => read(path),
    }
}

/// All modules below `folder` by name.
fn collect(folder: &Path, paths: &mut BTreeMap<String, PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, paths)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && let Some(module) = name.strip_suffix(".ko")
        {
            paths.insert(module.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// Adds a module after all those that it needs.
fn add_module(
    name: &str,
    paths: &BTreeMap<String, PathBuf>,
    order: &mut Vec<String>,
) -> Result<(), String> {
    if order.iter().any(|module| module == name) {
        return Ok(());
    }
    let path = paths.get(name).ok_or_else(|| format!("the kernel has no module {name}"))?;
    for needed in dependencies(&read(path)?) {
        add_module(&needed.replace('-', "_"), paths, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// What a module says of itself in its section `.modinfo`: strings with a zero after each.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
