//! The agent as a whole: it connects, watches, and gives each pod its worker.
//!
//! Which pods run is the API server's and the manifest folder's word; nothing here changes a pod.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use client::{ApiServer, Informer, Key, Life, Update, follow, no_index};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::addresses::Addresses;
use crate::context::Context;
use crate::events::Events;
use crate::local_runtime::LocalRuntime;
use crate::mirrors::{self, MIRROR, Mirrors};
use crate::options::Options;
use crate::register::{self, Myself};
use crate::registry::Registry;
use crate::resolv::ClusterDns;
use crate::runtime::Runtime;
use crate::worker::{Wanted, Worker};
use crate::{routes, serve, static_pods};

/// How often the manifest folder is read.
const FOLDER_PERIOD: Duration = Duration::from_secs(1);
/// Workers' ends that wait to be noticed.
const ENDS_QUEUE: usize = 64;

/// Runs the node agent until `stop` ends. Pods go on running without it.
pub async fn run(options: Options, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let name = match &options.hostname_override {
        Some(name) => name.clone(),
        None => {
            nix::unistd::gethostname().context("the host's name")?.to_string_lossy().into_owned()
        }
    };
    register::taints(&options)?;
    register::labels(&options, &name)?;
    let pods = options.root_dir.join("pods");
    std::fs::create_dir_all(&pods).with_context(|| format!("make {}", pods.display()))?;
    enable_forwarding();
    let client = ApiServer::of_file(&options.kubeconfig).connect().await?;
    let listener = TcpListener::bind((options.node_ip, options.port)).await.with_context(|| {
        format!(
            "listen on {}:{}: is another node agent running here?",
            options.node_ip, options.port
        )
    })?;
    let port = listener.local_addr()?.port();
    let ctx = Arc::new(context(&options, &name, &pods, client.clone())?);
    tracing::info!(node = name, "serving on {}", listener.local_addr()?);
    let myself = Arc::new(Myself { name: name.clone(), options: options.clone(), port });
    let (stopping, stopped) = watch::channel(false);
    let mut stopped_server = stopped.clone();
    let server_ctx = ctx.clone();
    let server_options = options.clone();
    let mut server = tokio::spawn(async move {
        serve::run(server_ctx, &server_options, listener, async move {
            drop(stopped_server.wait_for(|stop| *stop).await)
        })
        .await
    });
    let tasks = [
        tokio::spawn(register::run(client.clone(), myself)),
        tokio::spawn(keep_routes(client.clone(), name)),
        tokio::spawn(Pods::new(ctx, options.pod_manifest_path).run()),
    ];
    let result = tokio::select! {
        () = stop => Ok(()),
        ended = &mut server => ended.context("the server's task").and_then(|result| result),
    };
    stopping.send_replace(true);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    server.abort();
    result
}

/// A node routes between its pods and the world. Where the file is read-only it may be set already.
fn enable_forwarding() {
    let path = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1") {
        return;
    }
    if let Err(error) = std::fs::write(path, "1") {
        tracing::warn!(
            "packets are not forwarded between pods: write 1 to {path} on this node ({error})"
        );
    }
}

fn context(options: &Options, name: &str, pods: &Path, client: Client) -> Result<Context> {
    let services = Informer::new(Api::all(client.clone()), "", no_index);
    tokio::spawn(services.task());
    let own = || std::env::current_exe().context("find this program");
    let runtime = LocalRuntime {
        pods: pods.to_owned(),
        shim_program: "/proc/self/exe".into(),
        image_binary: options.image_binary.clone().map_or_else(own, Ok)?,
    };
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    Ok(Context {
        node_name: name.to_owned(),
        node_ip: options.node_ip,
        pods: pods.to_owned(),
        dns: ClusterDns {
            server: options.cluster_dns.clone(),
            domain: options.cluster_domain.clone(),
        },
        restart_cap: Duration::from_secs(options.max_container_restart_period.max(1)),
        runtime,
        events: Events::start(client.clone(), name.to_owned()),
        client,
        services,
        addresses: Addresses::open(&options.root_dir, options.pod_cidr)?,
        registry: Registry::default(),
    })
}

/// Follows the nodes and routes to their pods.
async fn keep_routes(client: Client, myself: String) {
    let (connection, handle, _) = match rtnetlink::new_connection() {
        Ok(connection) => connection,
        Err(error) => {
            return tracing::error!(
                "no routes to other nodes' pods: open a netlink socket: {error}"
            );
        }
    };
    tokio::spawn(connection);
    let mut updates = follow(Api::<Node>::all(client), "");
    let mut nodes: BTreeMap<Key, Node> = BTreeMap::new();
    let mut complete = false;
    let mut applied = None;
    while let Some(update) = updates.next().await {
        match update {
            Update::Listing => complete = false,
            Update::Set(node) => drop(nodes.insert(Key::of(&node), node)),
            Update::Gone(life) => drop(nodes.remove(&life.key)),
            Update::Synced => complete = true,
        }
        if !complete {
            continue;
        }
        let wanted = routes::wanted(nodes.values(), &myself);
        if applied.as_ref() == Some(&wanted) {
            continue;
        }
        match routes::apply(&handle, &wanted).await {
            Ok(()) => applied = Some(wanted),
            Err(error) => tracing::warn!("routes to other nodes' pods: {error:#}"),
        }
    }
}

/// The workers, and what they are told.
struct Pods {
    ctx: Arc<Context>,
    folder: Option<std::path::PathBuf>,
    workers: HashMap<String, watch::Sender<Wanted>>,
    statics: BTreeMap<String, Arc<Pod>>,
    /// Mirrors in the API, by namespace and name.
    mirrors: HashMap<Key, Arc<Pod>>,
    mirroring: watch::Sender<Option<Mirrors>>,
    synced: bool,
    ends: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Pods {
    fn new(ctx: Arc<Context>, folder: Option<std::path::PathBuf>) -> Pods {
        let (mirroring, known) = watch::channel(None);
        tokio::spawn(mirrors::keep(ctx.client.clone(), ctx.node_name.clone(), known));
        Pods {
            ctx,
            mirroring,
            folder,
            workers: HashMap::new(),
            statics: BTreeMap::new(),
            mirrors: HashMap::new(),
            synced: false,
            ends: mpsc::channel(ENDS_QUEUE),
        }
    }

    async fn run(mut self) {
        let mine = format!("spec.nodeName={}", self.ctx.node_name);
        let api: Api<Pod> = Api::all(self.ctx.client.clone());
        let mut updates = follow(api, &mine);
        let mut tick = tokio::time::interval(FOLDER_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(update) = updates.next() => self.take(update).await,
                _ = tick.tick() => if self.read_folder() {
                    self.mirror_all();
                },
                Some(uid) = self.ends.1.recv() => self.forget(&uid),
            }
        }
    }

    async fn take(&mut self, update: Update<Pod>) {
        match update {
            Update::Listing => {}
            Update::Set(pod) => {
                let mirror = pod.annotations().contains_key(MIRROR);
                self.apply(pod);
                if mirror {
                    self.mirror_all();
                }
            }
            Update::Gone(Life { key, uid, .. }) => {
                if self.mirrors.get(&key).is_some_and(|pod| pod.uid().as_ref() == Some(&uid)) {
                    self.mirrors.remove(&key);
                    self.mirror_all();
                } else if !self.statics.contains_key(&uid)
                    && let Some(worker) = self.workers.get(&uid)
                {
                    worker.send_replace(Wanted::Gone);
                }
            }
            Update::Synced => {
                if !self.synced {
                    self.synced = true;
                    self.read_folder();
                    self.remove_orphans().await;
                }
                self.mirror_all();
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        if let Some(hash) = pod.annotations().get(MIRROR) {
            self.tell_mirrored(hash, &pod);
            self.mirrors.insert(Key::of(&pod), Arc::new(pod));
            return;
        }
        self.want(uid, Arc::new(pod), false);
    }

    /// Shows a static pod's worker the status in the API: what others wrote there, as the node
    /// lifecycle controller does while the node is new, is the worker's to put right.
    fn tell_mirrored(&self, hash: &str, mirror: &Pod) {
        let (Some(manifest), Some(worker)) = (self.statics.get(hash), self.workers.get(hash))
        else {
            return;
        };
        let mut shown = Pod::clone(manifest);
        shown.status = mirror.status.clone();
        worker.send_replace(Wanted::Pod(Arc::new(shown)));
    }

    /// Gives the pod to its worker, a new one where it has none.
    fn want(&mut self, uid: String, pod: Arc<Pod>, mirrored: bool) {
        if let Some(worker) = self.workers.get(&uid) {
            worker.send_replace(Wanted::Pod(pod));
            return;
        }
        // Ended here already; what keeps its object is a finalizer of someone else's.
        if pod.metadata.deletion_timestamp.is_some()
            && !pod.finalizers().is_empty()
            && !self.ctx.pods.join(&uid).exists()
        {
            return;
        }
        let (sender, receiver) = watch::channel(Wanted::Pod(pod.clone()));
        self.workers.insert(uid.clone(), sender);
        let worker = Worker::new(self.ctx.clone(), uid.clone(), pod, mirrored);
        let ends = self.ends.0.clone();
        tokio::spawn(async move {
            worker.run(receiver).await;
            ends.send(uid).await.ok();
        });
    }

    fn forget(&mut self, uid: &str) {
        self.workers.remove(uid);
    }

    /// Returns whether anything has come or gone.
    fn read_folder(&mut self) -> bool {
        let Some(folder) = &self.folder else {
            return false;
        };
        let found = static_pods::read_folder(folder, &self.ctx.node_name);
        let gone: Vec<String> =
            self.statics.keys().filter(|uid| !found.contains_key(*uid)).cloned().collect();
        let mut changed = !gone.is_empty();
        for uid in gone {
            self.statics.remove(&uid);
            if let Some(worker) = self.workers.get(&uid) {
                worker.send_replace(Wanted::Gone);
            }
        }
        for (uid, pod) in found {
            if !self.statics.contains_key(&uid) {
                let pod = Arc::new(pod);
                self.statics.insert(uid.clone(), pod.clone());
                self.want(uid, pod, true);
                changed = true;
            }
        }
        changed
    }

    /// Tells the keeper of the mirrors what there is; it asks the API, this loop does not wait.
    fn mirror_all(&self) {
        if self.synced {
            self.mirroring.send_replace(Some(Mirrors {
                wanted: self.statics.clone(),
                existing: self.mirrors.clone(),
            }));
        }
    }

    /// Ends what is left of pods that nobody wants any more.
    async fn remove_orphans(&self) {
        let Ok(entries) = std::fs::read_dir(&self.ctx.pods) else {
            return;
        };
        for entry in entries.flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if self.workers.contains_key(&uid) {
                continue;
            }
            tracing::info!(uid, "removing what is left of a pod that has gone");
            self.ctx.runtime.remove_sandbox(&uid).await.ok();
            self.ctx.addresses.release(&uid).ok();
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}
