//! The directory that all members of a cluster share: one CA, made by whoever comes first.
//! Never keeps a member's own key there, but that of the CA, with which each issues its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::ClusterArgs;
use crate::cluster::kubeconfig;
use crate::cluster::pki::{Authority, Identity};

/// Where a member's own certificate, key and kubeconfig are: in its container alone.
const OWN_DIR: &str = "/run/coracle/pki";

/// A member's means to make credentials.
pub struct Credentials {
    /// The cluster's CA; what it issues goes into this container.
    pub authority: Authority,
}

impl Credentials {
    /// Opens the cluster's CA; the first member makes it, the others wait for that.
    pub fn open(cluster: &ClusterArgs) -> Result<Self> {
        let directory = cluster.shared_dir.join("pki");
        fs::create_dir_all(&directory).with_context(|| {
            format!("make {}: is the shared directory mounted?", directory.display())
        })?;
        let lock = File::create(directory.join(".lock")).context("the shared directory's lock")?;
        let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        fs::create_dir_all(OWN_DIR)?;
        let authority = Authority::open(&directory)?.issuing_into(Path::new(OWN_DIR));
        Ok(Self { authority })
    }

    /// Issues a client's credential and writes its kubeconfig into this container.
    pub fn kubeconfig(&self, server: &str, identity: &Identity) -> Result<PathBuf> {
        let credential = self.authority.issue(identity)?;
        let path = kubeconfig_path(identity);
        kubeconfig::write(&path, server, &identity.user, &self.authority, &credential)?;
        Ok(path)
    }
}

/// Where a client's kubeconfig is in this container, once it is written.
pub fn kubeconfig_path(identity: &Identity) -> PathBuf {
    Path::new(OWN_DIR).join(format!("{}.kubeconfig", identity.file))
}
