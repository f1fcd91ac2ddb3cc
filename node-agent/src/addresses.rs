//! Which pod has which address, kept on disk so that no restart hands one out twice.
//!
//! Addresses go round the range before one is used again, so that a client that still holds an
//! old one does not meet a stranger at once. Never configures an interface.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Table {
    latest: Option<Ipv4Addr>,
    by_pod: BTreeMap<String, Ipv4Addr>,
}

/// The addresses of one node's pods.
#[derive(Debug)]
pub struct Addresses {
    path: PathBuf,
    range: Ipv4Net,
    table: Mutex<Table>,
}

impl Addresses {
    /// Opens the table in `root_dir`; addresses outside `range` are forgotten.
    pub fn open(root_dir: &Path, range: Ipv4Net) -> Result<Addresses> {
        let path = root_dir.join("addresses.json");
        let mut table: Table = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged: remove it once no pod runs on this node", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Table::default(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        table.by_pod.retain(|_, ip| range.contains(&*ip));
        Ok(Addresses { path, range, table: Mutex::new(table) })
    }

    /// The pod's address: the one it has, else the next free one.
    pub fn assign(&self, uid: &str) -> Result<Ipv4Addr> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ip) = table.by_pod.get(uid) {
            return Ok(*ip);
        }
        let Some(ip) = next(&table, self.range) else {
            bail!(
                "all addresses of {} are in use: {} pods run on this node",
                self.range,
                table.by_pod.len()
            )
        };
        table.by_pod.insert(uid.to_owned(), ip);
        table.latest = Some(ip);
        self.save(&table)?;
        Ok(ip)
    }

    /// Gives the pod's address back.
    pub fn release(&self, uid: &str) -> Result<()> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.by_pod.remove(uid).is_some() {
            self.save(&table)?;
        }
        Ok(())
    }

    fn save(&self, table: &Table) -> Result<()> {
        let new = self.path.with_extension("json.new");
        let saved = std::fs::write(&new, serde_json::to_vec(table)?)
            .and_then(|()| std::fs::rename(&new, &self.path));
        saved.with_context(|| format!("write {}", self.path.display()))
    }
}

/// The first free address after the latest, without the range's first two and its last.
fn next(table: &Table, range: Ipv4Net) -> Option<Ipv4Addr> {
    let (first, last) =
        (u32::from(range.network()) + 2, u32::from(range.broadcast()).saturating_sub(1));
    let used: std::collections::BTreeSet<u32> =
        table.by_pod.values().map(|ip| u32::from(*ip)).collect();
    let start =
        table.latest.map_or(first, |ip| u32::from(ip) + 1).clamp(first, last.saturating_add(1));
    (start..=last)
        .chain(first..start)
        .find(|ip| *ip <= last && !used.contains(ip))
        .map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_restart_and_go_round() {
        let dir = tempfile::tempdir().unwrap();
        let range: Ipv4Net = "10.244.1.0/29".parse().unwrap();
        let open = || Addresses::open(dir.path(), range).unwrap();
        let last = |ip: Ipv4Addr| ip.octets()[3];
        let addresses = open();
        assert_eq!(["a", "b", "a"].map(|uid| last(addresses.assign(uid).unwrap())), [2, 3, 2]);
        addresses.release("a").unwrap();
        let addresses = open();
        assert_eq!(
            ["c", "d", "e", "f"].map(|uid| last(addresses.assign(uid).unwrap())),
            [4, 5, 6, 2]
        );
        let error = addresses.assign("g").unwrap_err().to_string();
        assert!(error.contains("10.244.1.0/29"), "{error}");
        std::fs::write(dir.path().join("addresses.json"), "{").unwrap();
        assert!(Addresses::open(dir.path(), range).is_err());
    }
}
