//! Requests to the API server as plain paths and JSON, and the server's warnings.
//! Never knows a kind.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use ::client::connect::{Protocol, from_config};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Global;
use crate::error::{Error, Result};

/// Largest answer that is read whole, in bytes; beyond it the command fails.
const MAX_RESPONSE_BYTES: usize = 512 * 1024 * 1024;
/// What a `get` asks for: the server's own columns, or the objects where it has none.
pub const ACCEPT_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A connection's settings, opened once a command.
pub struct Server {
    client: kube::Client,
    host: String,
    /// Namespace of requests that name none.
    pub namespace: String,
    warned: Mutex<HashSet<String>>,
    /// For the head of an answer; zero: as long as it takes.
    request_timeout: Duration,
}

/// One request, in short.
#[derive(Debug, Default)]
pub struct Call<'a> {
    /// `GET` when not set.
    pub method: Option<Method>,
    /// Path without a query.
    pub path: &'a str,
    /// Parameters, not yet encoded.
    pub query: Vec<(&'a str, String)>,
    /// `Accept`, JSON when not set.
    pub accept: Option<&'a str>,
    /// Body and its content type.
    pub body: Option<(&'a str, Vec<u8>)>,
}

impl<'a> Call<'a> {
    /// A `GET` of this path.
    pub fn get(path: &'a str) -> Self {
        Self { path, ..Self::default() }
    }

    /// A request with a JSON body.
    pub fn with_json(method: Method, path: &'a str, value: &Value) -> Self {
        Self {
            method: Some(method),
            path,
            body: Some(("application/json", value.to_string().into_bytes())),
            ..Self::default()
        }
    }

    /// A `PATCH` of this content type.
    pub fn patch(path: &'a str, content_type: &'a str, patch: &Value) -> Self {
        let body = Some((content_type, patch.to_string().into_bytes()));
        Self { method: Some(Method::PATCH), path, body, ..Self::default() }
    }

    /// Adds a parameter.
    pub fn parameter(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

/// An answer, or a part of one, as an object of a known type.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value)
        .map_err(|error| Error::message(format!("the server's answer cannot be read: {error}")))
}

impl Server {
    /// Sends a request for a list, and returns its items.
    pub async fn list<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Vec<T>> {
        let mut answer = self.call(call).await?;
        match answer["items"].take() {
            Value::Null => Ok(Vec::new()),
            items => typed(&items),
        }
    }

    /// Reads the kubeconfig and prepares a client; connects with the first request.
    pub async fn open(global: &Global) -> Result<Self> {
        // Another component of the same process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = config(global).await?;
        // A watch or a log may be silent for as long as it likes, unless somebody set a limit.
        let request_timeout = global.request_timeout;
        config.read_timeout = (!request_timeout.is_zero()).then_some(request_timeout);
        let namespace = global.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let authority = config.cluster_url.authority();
        let host = authority.map(ToString::to_string).unwrap_or_default();
        // exec and attach turn a connection into a WebSocket.
        let client = from_config(config, Protocol::Http1);
        Ok(Self {
            client: client.map_err(|error| Error::message(format!("{error:#}")))?,
            host,
            namespace,
            warned: Mutex::new(HashSet::new()),
            request_timeout,
        })
    }

    /// The client for exec, which is more than a request.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Host and port of the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request and reads a JSON answer.
    pub async fn call(&self, call: Call<'_>) -> Result<Value> {
        let path = call.path.to_owned();
        let bytes = self.read(self.send(call).await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::message(format!("the server's answer to {path} is no JSON: {error}"))
        })
    }

    /// Sends a request and reads the answer as it is.
    pub async fn text(&self, call: Call<'_>) -> Result<String> {
        let bytes = self.read(self.send(call).await?).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a request and gives the answer's body as it comes. An answer other
    /// than 2xx is an error.
    pub async fn send(&self, call: Call<'_>) -> Result<Response<Body>> {
        let mut target = call.path.to_owned();
        let mut separator = '?';
        for (name, value) in &call.query {
            let value = form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
            target.push_str(&format!("{separator}{name}={value}"));
            separator = '&';
        }
        let mut request = Request::builder()
            .method(call.method.unwrap_or(Method::GET))
            .uri(target)
            .header("Accept", call.accept.unwrap_or("application/json"))
            .header("User-Agent", concat!("kubectl-lite/", env!("CARGO_PKG_VERSION")));
        let body = match call.body {
            Some((kind, bytes)) => {
                request = request.header("Content-Type", kind);
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        let request = request.body(body);
        let request =
            request.map_err(|error| Error::message(format!("no valid request: {error}")))?;
        let sent = self.client.send(request);
        let sent = if self.request_timeout.is_zero() {
            sent.await
        } else {
            let limit = self.request_timeout;
            let answered = tokio::time::timeout(limit, sent).await;
            answered.map_err(|_| {
                Error::message(format!("{} has not answered within {limit:?}", self.host))
            })?
        };
        let response = sent.map_err(|error| self.unreachable(&error))?;
        self.warn(&response);
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let bytes = self.read(response).await?;
        let status = serde_json::from_slice::<Value>(&bytes).ok();
        let status = status.filter(|it| it["kind"] == "Status").unwrap_or_else(|| {
            let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
            let text = String::from_utf8_lossy(&bytes);
            serde_json::json!({"code": code.as_u16(), "reason": reason, "message": text.trim()})
        });
        Err(Error::Status { status, doing: None })
    }

    async fn read(&self, response: Response<Body>) -> Result<Vec<u8>> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Error::message(format!("the connection to {} broke: {error}", self.host))
            })?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_RESPONSE_BYTES {
                    let most = MAX_RESPONSE_BYTES / 1024 / 1024;
                    return Err(Error::message(format!(
                        "the answer is larger than {most} MiB: narrow the request"
                    )));
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes)
    }

    /// Prints the `Warning` headers (RFC 7234, code 299), each text once.
    fn warn(&self, response: &Response<Body>) {
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for header in response.headers().get_all("Warning") {
            let text = header.to_str().unwrap_or_default();
            let quoted = text.splitn(3, ' ').nth(2).unwrap_or_default();
            let inner = quoted.strip_prefix('"').and_then(|it| it.rsplit_once('"'));
            let inner = inner.map_or(quoted, |(inner, _)| inner);
            let inner = inner.replace("\\\"", "\"").replace("\\\\", "\\");
            if !inner.is_empty() && warned.insert(inner.clone()) {
                eprintln!("Warning: {inner}");
            }
        }
    }

    fn unreachable(&self, error: &kube::Error) -> Error {
        let mut text = error.to_string();
        let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(inner) = source {
            let refused = inner.downcast_ref::<std::io::Error>();
            if refused.is_some_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused) {
                return Error::Plain(format!(
                    "The connection to the server {} was refused - did you specify the right host or port?",
                    self.host
                ));
            }
            text = inner.to_string();
            source = inner.source();
        }
        Error::Plain(format!("Unable to connect to the server {}: {text}", self.host))
    }
}

async fn config(global: &Global) -> Result<Config> {
    let options =
        KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let failed = |error: &dyn std::fmt::Display| Error::message(error.to_string());
    let mut config = match kubeconfig(global) {
        Ok(file) => {
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))?
        }
        // In a pod there is no file, but a service account.
        Err(error) => match Config::incluster() {
            Ok(config) if global.kubeconfig.is_none() => config,
            _ if global.server.is_some() => Config::new(
                "http://localhost"
                    .parse()
                    .map_err(|error: http::uri::InvalidUri| failed(&error))?,
            ),
            _ => return Err(error),
        },
    };
    if let Some(server) = &global.server {
        let url = server.parse();
        config.cluster_url =
            url.map_err(|error| Error::message(format!("--server {server}: {error}")))?;
    }
    Ok(config)
}

/// The kubeconfig of `--kubeconfig`, `$KUBECONFIG` or `~/.kube/config`.
pub fn kubeconfig(global: &Global) -> Result<Kubeconfig> {
    let read = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|error| {
        Error::message(format!(
            "no usable kubeconfig (--kubeconfig, $KUBECONFIG or ~/.kube/config): {error}"
        ))
    })
}
