//! A name that stands for two API servers: whichever of them dies or stands still, the
//! components go on with the other.
//!
//! Never sends a packet off loopback. A server that stands still accepts connections and
//! answers nothing, so that no kernel says that anything is wrong.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use e2e::{
    ApiServer, Backend, Component, Etcd, Hosts, SHARED_NAME, missing_tool, wait_for, wait_for_async,
};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Two servers, and the name that stands for both.
struct Servers {
    servers: [ApiServer; 2],
    hosts: Hosts,
    _etcd: Etcd,
}

impl Servers {
    fn start() -> anyhow::Result<Option<Self>> {
        if missing_tool("etcd", "etcd-server") || missing_tool("unshare", "util-linux") {
            return Ok(None);
        }
        let etcd = Etcd::start()?;
        let servers = ApiServer::group(&Backend::Etcd(etcd.servers()), [&[], &[]])?;
        let addresses: Vec<IpAddr> = servers.iter().map(|it| it.address().ip()).collect();
        Ok(Some(Self { hosts: Hosts::new(SHARED_NAME, &addresses)?, servers, _etcd: etcd }))
    }

    fn component(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Component> {
        let kubeconfig = self.servers[0].kubeconfig_for(SHARED_NAME)?;
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let words = [program, &kubeconfig].into_iter();
        Component::start_with_hosts(&self.hosts, words.chain(arguments.iter().copied()))
    }

    /// Has each server stand still and die in turn. `follows` is asked to see a change that
    /// is made through the living one.
    async fn trouble(
        &mut self,
        mut follows: impl AsyncFnMut(&Self, &ApiServer, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        follows(self, &self.servers[0], "before").await?;
        for (still, living) in [(0, 1), (1, 0)] {
            self.servers[still].signal(Signal::STOP);
            let name = format!("while-{still}-stands-still");
            follows(self, &self.servers[living], &name).await?;
            self.servers[still].signal(Signal::CONT);
        }
        for (dead, living) in [(0, 1), (1, 0)] {
            self.servers[dead].kill();
            let name = format!("while-{dead}-is-dead");
            follows(self, &self.servers[living], &name).await?;
            self.servers[dead].restart()?;
        }
        Ok(())
    }
}

async fn create<K>(server: &ApiServer, value: Value) -> anyhow::Result<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(server.client()?, "default");
    let object = serde_json::from_value(value)?;
    Ok(api.create(&PostParams::default(), &object).await?)
}

fn service(name: &str) -> Value {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_goes_on_with_the_other_server() -> anyhow::Result<()> {
    let Some(mut servers) = Servers::start()? else {
        return Ok(());
    };
    // Without patience for a lease: who loses it ends, and this one must not.
    let mut controller = servers.component("endpoints-controller", &[])?;
    controller.wait_for_log("successfully acquired lease");
    let containers = json!([{"name": "web", "image": "web"}]);
    let pod = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": containers},
    });
    let _: Pod = create(&servers.servers[0], pod).await?;
    let pods: Api<Pod> = Api::namespaced(servers.servers[0].client()?, "default");
    let status = json!({"status": {
        "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    pods.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
    servers
        .trouble(async |_, living, name| {
            let _: Service = create(living, service(name)).await?;
            let endpoints: Api<Endpoints> = Api::namespaced(living.client()?, "default");
            wait_for_async(&format!("the endpoints of {name}"), async || {
                let found = endpoints.get_opt(name).await.ok().flatten();
                let subsets = found.and_then(|it| it.subsets).unwrap_or_default();
                if subsets.is_empty() { Err(controller.log()) } else { Ok(()) }
            })
            .await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dns_goes_on_with_the_other_server() -> anyhow::Result<()> {
    let Some(mut servers) = Servers::start()? else {
        return Ok(());
    };
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let listen = format!("--listen={port}");
    let arguments =
        [listen.as_str(), "--metrics-address=127.0.0.1:0", "--health-address=127.0.0.1:0"];
    let dns = servers.component("cluster-dns", &arguments)?;
    servers
        .trouble(async |_, living, name| {
            let _: Service = create(living, service(name)).await?;
            let _: EndpointSlice = create(
                living,
                json!({
                    "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                    "addressType": "IPv4", "endpoints": [],
                }),
            )
            .await?;
            wait_for(&format!("DNS to know {name}"), || match knows(port, name) {
                Ok(true) => Ok(()),
                other => Err(format!("{other:?}\n{}", dns.log())),
            });
            Ok(())
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_server_that_answers() -> anyhow::Result<()> {
    let Some(mut servers) = Servers::start()? else {
        return Ok(());
    };
    servers
        .trouble(async |servers, living, name| {
            let _: Service = create(living, service(name)).await?;
            let mut get = servers.component("kubectl", &["get", "service", name])?;
            assert_eq!(get.end(), Some(0), "{}", get.log());
            let dry_run = ["--dry-run", "--hostname-override=node"];
            let mut plan = servers.component("proxy-agent", &dry_run)?;
            assert_eq!(plan.end(), Some(0), "{}", plan.log());
            Ok(())
        })
        .await
}

#[test]
fn a_command_gives_a_silent_server_up_after_the_time_that_it_is_told() -> anyhow::Result<()> {
    // The kernel takes the connection, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let server = format!("--server=http://{}", silent.local_addr()?);
    let limit = "--request-timeout=1s";
    let mut get = Component::start(["kubectl", &server, limit, "get", "pods"])?;
    assert_eq!(get.end(), Some(1), "{}", get.log());
    assert!(get.log().contains("not answered within 1s"), "{}", get.log());
    Ok(())
}

/// Whether the DNS server has an address for a Service of namespace `default`.
fn knows(server: SocketAddr, service: &str) -> std::io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Header: id, recursion desired, one question. Then the name, type A, class IN.
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [service, "default", "svc", "cluster", "local"] {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, server)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let (code, answers) = (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]));
    Ok(length >= 12 && code == 0 && answers > 0)
}
