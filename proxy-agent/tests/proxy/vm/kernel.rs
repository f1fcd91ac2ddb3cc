//! Debian's kernel for virtual machines: downloaded once as a package, unpacked below
//! `target`, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Follows the newest kernel of the release.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel and its modules.
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    /// Where its modules are, in folders.
    pub modules: PathBuf,
}

/// The kernel, from an earlier run or from Debian's archive.
pub fn unpacked() -> Result<Kernel, String> {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-kernel");
    fs::create_dir_all(&store).map_err(|error| format!("{}: {error}", store.display()))?;
    if let Some(kernel) = found(&store) {
        return Ok(kernel);
    }
    let package = package()?;
    let unpacking = tempfile::tempdir_in(&store).map_err(|error| error.to_string())?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-qq", &package]);
        run(command.current_dir(unpacking.path()))
    };
    // The lists may be older than the archive; only root can renew them.
    download().or_else(|_| {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download()
    })?;
    let archive = fs::read_dir(unpacking.path())
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("apt-get downloaded no {package}"))?;
    let tree = unpacking.path().join(&package);
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
    // Another test program may have been quicker.
    if let Err(error) = fs::rename(&tree, store.join(&package))
        && found(&store).is_none()
    {
        return Err(error.to_string());
    }
    found(&store).ok_or_else(|| format!("{package} has no kernel"))
}

/// The unpacked kernel in `store`, if there is one.
fn found(store: &Path) -> Option<Kernel> {
    fs::read_dir(store).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("linux-image-")?;
        let kernel = Kernel {
            image: entry.path().join("boot").join(format!("vmlinuz-{version}")),
            modules: entry.path().join("lib/modules").join(version),
        };
        (kernel.image.exists() && kernel.modules.exists()).then_some(kernel)
    })
}

/// The package that the metapackage stands for.
fn package() -> Result<String, String> {
    let text = run(Command::new("apt-cache").args(["depends", METAPACKAGE]))?;
    let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    depends
        .map(|version| format!("linux-image-{version}"))
        .ok_or_else(|| format!("apt knows no {METAPACKAGE}"))
}

/// Runs a program to its end and gives its output.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}", complaint.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
