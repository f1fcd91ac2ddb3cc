//! An etcd that others write to as well: fresh reads are fresh and none of them waits in vain,
//! also where that etcd is too old to report progress truthfully.

use e2e::{ApiServer, Backend, Etcd, missing_tool};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};

const ROUNDS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn fresh_reads_are_answered_while_others_write() -> anyhow::Result<()> {
    if missing_tool("etcd", "etcd-server") {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let server = ApiServer::start(Backend::Etcd(etcd.servers()))?;
    let mut others = etcd_client::Client::connect(etcd.urls(), None).await?;
    let maps: Api<ConfigMap> = Api::namespaced(server.client()?, "default");
    for round in 0..ROUNDS {
        let name = format!("map-{round}");
        let object = ConfigMap {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
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
