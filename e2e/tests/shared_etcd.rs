//! An etcd that others write to as well: fresh reads are fresh and none of them waits in vain,
//! also where that etcd is too old to report progress truthfully.
//!
//! Never looks into the store: what is there is asked through the API.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use e2e::{ApiServer, Backend, missing_tool};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};

const ROUNDS: usize = 30;

/// Ends with the test.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An etcd at this URL with its files in this directory.
fn start_etcd(url: &str, directory: &std::path::Path) -> anyhow::Result<Etcd> {
    let peer = format!("http://{}", free_address()?);
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory);
    command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
    command.args(["--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Etcd(child))
}

fn free_address() -> anyhow::Result<std::net::SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_reads_are_answered_while_others_write() -> anyhow::Result<()> {
    if missing_tool("etcd", "etcd-server") {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let url = format!("http://{}", free_address()?);
    let _etcd = start_etcd(&url, directory.path())?;
    let server = ApiServer::start(Backend::Etcd(url.clone()))?;
    let mut others = etcd_client::Client::connect([&url], None).await?;
    let maps: Api<ConfigMap> = Api::namespaced(server.client()?, "default");
    for round in 0..ROUNDS {
        let name = format!("map-{round}");
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let created = maps.create(&PostParams::default(), &object).await?;
        // The newest revision is now one that no watch of the API server's ever sees.
        let put = others.put("/elsewhere", round.to_string(), None).await?;
        let newest = put.header().map_or(0, |header| header.revision());
        let list = maps.list(&ListParams::default()).await?;
        let version: i64 = list.metadata.resource_version.unwrap_or_default().parse()?;
        assert!(version >= newest, "a list of {version} at {newest}");
        let found = list.items.iter().find(|map| map.name_any() == name);
        assert_eq!(found.map(ResourceExt::uid), Some(created.uid()));
        maps.get(&name).await?;
    }
    Ok(())
}
