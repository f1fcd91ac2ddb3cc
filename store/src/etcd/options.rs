//! Where etcd is and how to reach it.
//!
//! Reads certificate files; never logs what is in them.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use crate::Error;

/// A connection that is not made in this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life this often: as often as etcd lets a client
/// (`--grpc-keepalive-min-time`).
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(5);
/// Without one in this time the connection is dead. With the period it is less than the time in
/// which a leader has to renew its Lease.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where etcd is.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// URLs of the members; any of them may be down.
    pub endpoints: Vec<String>,
    /// PEM file of the certificate authority that the members' certificates are from.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this client's certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file of this client's key.
    pub key_file: Option<PathBuf>,
}

/// Makes clients of one configuration.
#[derive(Clone)]
pub(super) struct Connector {
    pub endpoints: Vec<String>,
    options: ConnectOptions,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.endpoints).finish()
    }
}

impl Connector {
    /// Reads the certificates and checks the options.
    pub fn new(options: &EtcdOptions) -> Result<Self, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no etcd server is given".into()));
        }
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE_PERIOD, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member that has lost its cluster answers with an error, not with old news.
            .with_require_leader(true);
        if let Some(tls) = tls(options)? {
            connect = connect.with_tls(tls);
        } else if let Some(url) = options.endpoints.iter().find(|url| url.starts_with("https:")) {
            return Err(Error::Invalid(format!(
                "{url} needs a certificate authority to check it with: give its file"
            )));
        }
        Ok(Self { endpoints: options.endpoints.clone(), options: connect })
    }

    /// A client of all members, with connections of its own that are made when needed.
    pub async fn client(&self) -> Result<Client, Error> {
        self.client_of(&self.endpoints).await
    }

    /// A client of some members.
    pub async fn client_of(&self, endpoints: &[String]) -> Result<Client, Error> {
        Client::connect(endpoints, Some(self.options.clone()))
            .await
            .map_err(|error| Error::Invalid(format!("cannot use the etcd servers: {error}")))
    }
}

fn tls(options: &EtcdOptions) -> Result<Option<TlsOptions>, Error> {
    let mut tls = TlsOptions::new();
    if let Some(file) = &options.ca_file {
        tls = tls.ca_certificate(Certificate::from_pem(read(file)?));
    }
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => {}
        _ => {
            return Err(Error::Invalid(
                "a client certificate for etcd needs its key, and a key its certificate".into(),
            ));
        }
    }
    let wanted = options.ca_file.is_some() || options.cert_file.is_some();
    Ok(wanted.then_some(tls))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file)
        .map_err(|error| Error::Invalid(format!("cannot read {}: {error}", file.display())))
}
