//! A whole API server: reads its options, opens the store, binds, serves until it is stopped.

use std::{future::Future, net::IpAddr, sync::Arc};

use anyhow::Context;
use store::{Embedded, EmbeddedOptions, Etcd, EtcdOptions, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    advertise::{self, Advertised},
    allocate::Allocators,
    authenticate::Tokens,
    bootstrap,
    options::Options,
    router::router,
    serve,
    server::Parts,
    start::start,
    stream::node::NodeClient,
};

/// Serves until `stop`.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // Another component in this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = serve::tls_config(&options)?;
    let tokens = match &options.token_auth_file {
        Some(file) => Tokens::read(file)?,
        None => Tokens::default(),
    };
    let nodes = NodeClient::new(&options)?;
    // Bound before the store is opened: a port in use is told at once.
    let listener = serve::bind(&options).await?;
    let bound = listener.local_addr()?;
    let mut listeners = vec![listener];
    for fd in &options.listen_fd {
        listeners.push(serve::inherit(*fd)?);
    }
    let store = open_store(&options).await?;
    let token = CancellationToken::new();
    let stopped = token.clone();
    let range = options.service_node_port_range;
    let server = start(Parts {
        store,
        allocators: Allocators::new(&options.service_cluster_ip_range, (range.first, range.last)),
        tokens,
        nodes,
        event_ttl: options.event_ttl,
        stop: token.clone(),
    })
    .await
    .context("reading the store")?;
    let advertised = Advertised { address: advertise_address(&options), port: bound.port() };
    bootstrap::bootstrap(&server, advertised).await?;
    let compaction = tokio::spawn(bootstrap::compact_regularly(server.clone()));
    let looking_after = tokio::spawn(bootstrap::bootstrap_regularly(
        server.clone(),
        advertised,
        bootstrap::BOOTSTRAP_INTERVAL,
    ));
    info!("serving on {bound}");
    let service = router(server.clone());
    let stopping = tokio::spawn(async move {
        stop.await;
        looking_after.abort();
        // First of all, so that clients come to the other servers.
        advertise::withdraw(&server, advertised).await;
        token.cancel();
    });
    serve::serve(listeners, tls, service, stopped).await;
    compaction.abort();
    stopping.abort();
    Ok(())
}

async fn open_store(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let Some(directory) = options.data_dir.clone() else {
        return Ok(Arc::new(connect_etcd(options).await?));
    };
    let opened = tokio::task::spawn_blocking(move || {
        Embedded::open(&directory, EmbeddedOptions::default())
            .with_context(|| format!("opening the store in --data-dir {}", directory.display()))
    });
    Ok(Arc::new(opened.await??))
}

async fn connect_etcd(options: &Options) -> anyhow::Result<Etcd> {
    Etcd::connect(EtcdOptions {
        endpoints: options.etcd_servers.clone(),
        ca_file: options.etcd_cafile.clone(),
        cert_file: options.etcd_certfile.clone(),
        key_file: options.etcd_keyfile.clone(),
    })
    .await
    .context("connecting to --etcd-servers")
}

/// `--advertise-address`, else the bind address, else loopback: an unspecified address is
/// nothing that a client could connect to.
fn advertise_address(options: &Options) -> IpAddr {
    match options.advertise_address {
        Some(address) => address,
        None if options.bind_address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        None => options.bind_address,
    }
}
