//! Two instances of each controller program: one works, and the other goes on when that one is
//! killed, ends, or stands still.
//!
//! Never measures a time: with a lease of an hour, a takeover has another reason than its end.

use e2e::{ApiServer, Backend, Component, wait_for, wait_for_async};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Endpoints, Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// As short as the flags allow.
const SHORT: [&str; 3] = [
    "--leader-elect-lease-duration=1s",
    "--leader-elect-renew-deadline=800ms",
    "--leader-elect-retry-period=100ms",
];
/// Nobody waits for the end of this lease.
const AN_HOUR: [&str; 3] = [
    "--leader-elect-lease-duration=1h",
    "--leader-elect-renew-deadline=50m",
    "--leader-elect-retry-period=100ms",
];

struct Cluster {
    server: ApiServer,
    client: Client,
}

impl Cluster {
    fn start() -> anyhow::Result<Self> {
        let server = ApiServer::start(Backend::Embedded)?;
        let client = server.client()?;
        Ok(Self { server, client })
    }

    /// An instance of `program`.
    fn instance(&self, program: &str, election: [&str; 3]) -> anyhow::Result<Component> {
        let kubeconfig = format!("--kubeconfig={}", self.server.kubeconfig()?.display());
        Component::start([program, &kubeconfig].into_iter().chain(election))
    }

    /// A leader, and another instance that stands by.
    fn pair(&self, program: &str, election: [&str; 3]) -> anyhow::Result<(Component, Component)> {
        let mut first = self.instance(program, election)?;
        first.wait_for_log("successfully acquired lease");
        let mut second = self.instance(program, election)?;
        second.wait_for_log("standing by");
        Ok((first, second))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, object: Value) -> anyhow::Result<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        let object = serde_json::from_value(object)?;
        Ok(self.api().create(&PostParams::default(), &object).await?)
    }

    /// A Service that selects the pod of [`Cluster::ready_pod`].
    async fn service(&self, name: &str) -> anyhow::Result<()> {
        let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        let service: Service =
            self.create(json!({"metadata": {"name": name}, "spec": spec})).await?;
        assert_eq!(service.name_any(), name);
        Ok(())
    }

    async fn ready_pod(&self) -> anyhow::Result<()> {
        let spec = json!({"containers": [{"name": "web", "image": "web"}]});
        let metadata = json!({"name": "web", "labels": {"app": "web"}});
        let _: Pod = self.create(json!({"metadata": metadata, "spec": spec})).await?;
        let status = json!({"status": {
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let pods: Api<Pod> = self.api();
        pods.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Waits until a Service's endpoints are written.
    async fn followed(&self, service: &str) -> anyhow::Result<()> {
        until(&format!("the endpoints of {service}"), async || {
            let endpoints: Option<Endpoints> = self.api().get_opt(service).await.ok()?;
            let slices: Api<EndpointSlice> = self.api();
            let of = format!("kubernetes.io/service-name={service}");
            let slices = slices.list(&ListParams::default().labels(&of)).await.ok()?;
            let subsets = endpoints?.subsets.unwrap_or_default();
            let mut endpoints_of = slices.items.into_iter().filter_map(|slice| slice.endpoints);
            let ready = endpoints_of.any(|endpoints| !endpoints.is_empty());
            (ready && !subsets.is_empty()).then_some(())
        })
        .await
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "kube-system")
    }

    async fn lease(&self, name: &str) -> anyhow::Result<Lease> {
        Ok(self.leases().get(name).await?)
    }
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    wait_for_async(what, async || condition().await.ok_or_else(|| "not yet".to_owned())).await
}

fn holder(lease: &Lease) -> String {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

fn transitions(lease: &Lease) -> Option<i32> {
    lease.spec.as_ref()?.lease_transitions
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_goes_on_when_the_leader_is_killed() -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    let (endpoints, _endpoints) = cluster.pair("endpoints-controller", SHORT)?;
    let (manager, _manager) = cluster.pair("controller-manager", SHORT)?;
    cluster.ready_pod().await?;
    cluster.service("before").await?;
    cluster.followed("before").await?;
    let mut before = Vec::new();
    for (name, leader) in
        [("endpoints-controller", &endpoints), ("kube-controller-manager", &manager)]
    {
        before.push((name, cluster.lease(name).await?));
        leader.signal(Signal::KILL);
    }
    cluster.service("after").await?;
    let set = json!({
        "metadata": {"name": "set"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "set"}},
            "template": {
                "metadata": {"labels": {"app": "set"}},
                "spec": {"containers": [{"name": "set", "image": "set"}]},
            },
        },
    });
    let _: ReplicaSet = cluster.create(set).await?;
    cluster.followed("after").await?;
    until("the pods of the ReplicaSet", async || {
        let pods: Api<Pod> = cluster.api();
        let pods = pods.list(&ListParams::default().labels("app=set")).await;
        (pods.ok()?.items.len() == 2).then_some(())
    })
    .await?;
    for (name, before) in before {
        let after = cluster.lease(name).await?;
        assert_ne!(holder(&before), holder(&after), "{name}");
        assert_eq!(transitions(&before), Some(0), "{name}");
        assert_eq!(transitions(&after), Some(1), "{name}");
        let told = format!("{} became leader", holder(&after));
        until(&told, async || {
            let events: Api<Event> = Api::namespaced(cluster.client.clone(), "kube-system");
            let mut events = events.list(&ListParams::default()).await.ok()?.items.into_iter();
            let reason = Some("LeaderElection".to_owned());
            let about = Some(name.to_owned());
            events
                .any(|event| {
                    event.reason == reason
                        && event.involved_object.name == about
                        && event.message.as_ref() == Some(&told)
                })
                .then_some(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_leaves_its_place_at_once() -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    cluster.ready_pod().await?;
    for (program, name) in [
        ("endpoints-controller", "endpoints-controller"),
        ("controller-manager", "kube-controller-manager"),
    ] {
        let (mut leader, mut other) = cluster.pair(program, AN_HOUR)?;
        let first = cluster.lease(name).await?;
        let version = first.resource_version().unwrap_or_default();
        let only = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut seen = cluster.leases().watch(&only, &version).await?.boxed();
        leader.signal(Signal::TERM);
        assert_eq!(leader.end(), Some(0));
        other.wait_for_log("successfully acquired lease");
        let mut holders = vec![holder(&first)];
        while holders.len() < 3 {
            let Some(WatchEvent::Modified(lease)) = seen.try_next().await? else {
                continue;
            };
            if holders.last() != Some(&holder(&lease)) {
                holders.push(holder(&lease));
            }
            if holders.len() == 2 {
                let spec = lease.spec.unwrap_or_default();
                assert_eq!(spec.lease_duration_seconds, Some(1));
            }
        }
        assert_eq!(holders[1], "", "{name} was released before it was taken");
        assert_ne!(holders[0], holders[2]);
        if program == "endpoints-controller" {
            cluster.service("later").await?;
            cluster.followed("later").await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_ends_and_writes_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    cluster.ready_pod().await?;
    for round in 0..5 {
        let (mut former, mut present) = cluster.pair("endpoints-controller", SHORT)?;
        cluster.service(&format!("before-{round}")).await?;
        cluster.followed(&format!("before-{round}")).await?;
        former.signal(Signal::STOP);
        present.wait_for_log("successfully acquired lease");
        // From now on nobody writes endpoints; the watches of the former leader fill up.
        present.signal(Signal::STOP);
        for number in 0..20 {
            cluster.service(&format!("meanwhile-{round}-{number}")).await?;
        }
        let written = everything(&cluster).await?;
        former.signal(Signal::CONT);
        assert_eq!(former.end(), Some(1), "{}", former.log());
        assert!(former.log().contains("leaderelection lost"), "{}", former.log());
        assert_eq!(everything(&cluster).await?, written);
    }
    Ok(())
}

/// Names and versions of all that the endpoints controller writes.
async fn everything(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let endpoints: Api<Endpoints> = cluster.api();
    let slices: Api<EndpointSlice> = cluster.api();
    let all = ListParams::default();
    let mut found: Vec<String> = Vec::new();
    let mut add = |kind: &str, name: String, version: Option<String>| {
        found.push(format!("{kind} {name} {}", version.unwrap_or_default()));
    };
    for object in endpoints.list(&all).await? {
        add("endpoints", object.name_any(), object.resource_version());
    }
    for object in slices.list(&all).await? {
        add("slice", object.name_any(), object.resource_version());
    }
    let lease = cluster.lease("endpoints-controller").await?;
    add("lease", holder(&lease), None);
    found.sort();
    Ok(found)
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let mut wrong = Component::start([
        "endpoints-controller",
        "--leader-elect-lease-duration=5s",
        "--leader-elect-renew-deadline=10s",
    ])
    .expect("it starts");
    assert_eq!(wrong.end(), Some(1));
    let log = wait_for("an error", || {
        let log = wrong.log();
        (!log.is_empty()).then_some(log).ok_or_else(String::new)
    });
    let expected = "must be shorter than --leader-elect-lease-duration=5s";
    assert!(log.contains(expected), "{log}");
}
