//! The images of the labs, made from the program under test.
//!
//! Never builds twice: an image is named after the program that is in it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Command,
    sync::Mutex,
    time::UNIX_EPOCH,
};

use crate::{Lab, Output};

use super::docker::docker;

/// Repositories that the script makes, all with one tag.
const REPOSITORIES: [&str; 4] = ["coracle", "coracle-xtables", "coracle-etcd", "coracle-etcdctl"];
/// Tags of the tests' images begin with this.
const TAG: &str = "e2e-";

/// Makes the images where they are not there, and returns their tag. Those of earlier programs
/// are removed.
pub fn ensure() -> String {
    // Tests of one program start side by side.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let binary = Lab::binary();
    let tag = format!("{TAG}{}", fingerprint(&binary));
    let there =
        |repository: &&str| docker(&["image", "inspect", &format!("{repository}:{tag}")]).code == 0;
    if REPOSITORIES.iter().all(there) {
        return tag;
    }
    remove_others(&tag);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/compose/build");
    let mut build = Command::new(script);
    build.arg("--program").arg(&binary).env("CORACLE_TAG", &tag);
    Output::of(&mut build).ok();
    tag
}

fn fingerprint(binary: &Path) -> String {
    let about = fs::metadata(binary).expect("the program under test is built");
    let mut hasher = DefaultHasher::new();
    binary.hash(&mut hasher);
    about.len().hash(&mut hasher);
    let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    modified.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Removes the tests' images of other programs; one in use stays.
fn remove_others(tag: &str) {
    for repository in REPOSITORIES {
        let of = format!("{repository}:{TAG}*");
        let filter = format!("reference={of}");
        for image in
            docker(&["image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"])
                .ok_lines()
        {
            if !image.ends_with(tag) {
                let _ = docker(&["image", "rm", &image]);
            }
        }
    }
}
