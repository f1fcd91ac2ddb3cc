//! An etcd of the test's own, of one member or several, whose members can be killed.
//!
//! Never leaves loopback.

use std::{
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::authority::{Authority, Credential};

/// What a client shows to an etcd that speaks TLS alone.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// The authority of both sides.
    pub ca: PathBuf,
    /// The client's certificate and key.
    pub client: Credential,
}

/// A running etcd; it ends with the test.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Child>,
    urls: Vec<String>,
    tls: Option<EtcdTls>,
    _directory: TempDir,
}

impl Etcd {
    /// One member.
    pub fn start() -> anyhow::Result<Self> {
        Self::launch(1, None)
    }

    /// So many members, of which the smaller half may die.
    pub fn cluster(members: usize) -> anyhow::Result<Self> {
        Self::launch(members, None)
    }

    /// One member that asks for client certificates of this authority.
    pub fn with_tls(authority: &Authority) -> anyhow::Result<Self> {
        Self::launch(1, Some(authority))
    }

    fn launch(count: usize, authority: Option<&Authority>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let scheme = if authority.is_some() { "https" } else { "http" };
        let mut tls = Vec::new();
        let mut shown = None;
        if let Some(authority) = authority {
            let ca = authority.write(directory.path())?;
            let subject = ["127.0.0.1".to_owned()];
            let server = authority.issue(directory.path(), "etcd", &subject)?;
            let client = authority.issue(directory.path(), "client", &[])?;
            tls.push("--client-cert-auth".into());
            for (flag, file) in [
                ("--trusted-ca-file", &ca),
                ("--cert-file", &server.certificate),
                ("--key-file", &server.key),
            ] {
                tls.push(flag.to_owned());
                tls.push(file.display().to_string());
            }
            shown = Some(EtcdTls { ca, client });
        }
        // All are held at once, so that no two are the same.
        let ports = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0"));
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        let address =
            |index: usize| Ok::<_, std::io::Error>(ports[index].local_addr()?.to_string());
        let mut urls = Vec::new();
        let mut peers = Vec::new();
        for index in 0..count {
            urls.push(format!("{scheme}://{}", address(2 * index)?));
            peers.push(format!("http://{}", address(2 * index + 1)?));
        }
        drop(ports);
        let named = peers.iter().enumerate();
        let named: Vec<String> = named.map(|(n, peer)| format!("m{n}={peer}")).collect();
        let mut members = Vec::new();
        for (index, (url, peer)) in urls.iter().zip(&peers).enumerate() {
            let data = directory.path().join(format!("m{index}"));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{index}")]);
            command.arg("--data-dir").arg(data);
            command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
            command.args(["--listen-peer-urls", peer]);
            command.args(["--initial-advertise-peer-urls", peer]);
            command.args(["--initial-cluster", &named.join(",")]);
            let log = File::create(directory.path().join(format!("m{index}.log")))?;
            command.args(&tls).stdin(Stdio::null()).stdout(Stdio::null());
            members.push(command.stderr(log).spawn()?);
        }
        Ok(Self { members, urls, tls: shown, _directory: directory })
    }

    /// The members' URLs.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The URLs as `--etcd-servers` takes them.
    pub fn servers(&self) -> String {
        self.urls.join(",")
    }

    /// What a client has to show, where one has.
    pub fn tls(&self) -> Option<&EtcdTls> {
        self.tls.as_ref()
    }

    /// Kills a member without a warning.
    pub fn kill(&mut self, member: usize) {
        let _ = self.members[member].kill();
        let _ = self.members[member].wait();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}
