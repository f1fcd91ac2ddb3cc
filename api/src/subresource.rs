//! Subresources: a table in each kind of name → what is sent, which verbs, what it does.
//!
//! A kind says here what is special of it; how it is read, written and streamed is the API
//! server's. Later ones (proxy, token, approval, resize) are further behaviours.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::{
    object::{Object, typed, typed_mut},
    status::ApiError,
};

/// Group, version and kind of what is sent to a subresource.
pub type Request = (&'static str, &'static str, &'static str);

/// Reads a request's body, and says what it does to the object: again on each newer version.
pub type Act = Box<dyn Fn(Value) -> Result<Change, ApiError> + Send + Sync>;
/// What an [`Act`] does to the object at a time.
pub type Change = Box<dyn Fn(&mut dyn Object, Time) -> Result<(), ApiError> + Send + Sync>;
/// Takes over into the object what a subresource may change of it.
pub type Replace = Box<dyn Fn(&mut dyn Object, &dyn Object) + Send + Sync>;
/// How many there are of what an object scales.
pub type ReadScale = Box<dyn Fn(&dyn Object) -> Scale + Send + Sync>;
/// Sets how many are wanted.
pub type WriteScale = Box<dyn Fn(&mut dyn Object, i32) + Send + Sync>;
/// The container that a stream is about, from the object and the name that the client gave.
pub type Locate =
    Box<dyn Fn(&dyn Object, Option<&str>) -> Result<Container, ApiError> + Send + Sync>;

/// One subresource of a kind.
pub struct Subresource {
    /// The last part of its path, such as `scale`.
    pub name: &'static str,
    /// What is sent; `None`: the kind itself.
    pub request: Option<Request>,
    /// What can be done with it, as discovery tells.
    pub verbs: &'static [&'static str],
    /// What it does.
    pub behaviour: Behaviour,
    /// Plural and singular of a resource of its own that does the same to the object that its
    /// body names, such as `bindings`.
    pub collection: Option<(&'static str, &'static str)>,
}

/// What a subresource does.
pub enum Behaviour {
    /// Reads the object, and writes its status.
    Status,
    /// Writes a part of the object that nothing else may.
    Replace(Replace),
    /// Reads and writes how many there are.
    Scale {
        /// The object's scale.
        read: ReadScale,
        /// Sets how many are wanted.
        write: WriteScale,
    },
    /// Changes the object as a request of another kind says.
    Act(Act),
    /// Deletes the object, by options within the request.
    Evict,
    /// A stream from or to one of its containers.
    Stream(Stream, Locate),
}

/// What passes through a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The container's log, one way.
    Log,
    /// A new command's input and output.
    Exec,
    /// The running command's input and output.
    Attach,
}

/// How many there are of what an object makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scale {
    /// `spec.replicas`.
    pub wanted: Option<i32>,
    /// `status.replicas`.
    pub running: i32,
    /// `status.selector`, as text.
    pub selector: Option<String>,
}

/// A container on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// The node whose agent runs it.
    pub node: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Its own name.
    pub name: String,
    /// Why it does not run, as far as the status says.
    pub stopped: Option<String>,
}

impl Subresource {
    fn new(name: &'static str, verbs: &'static [&'static str], behaviour: Behaviour) -> Self {
        Self { name, request: None, verbs, behaviour, collection: None }
    }

    /// `status`.
    pub fn status() -> Self {
        Self::new("status", &["get", "patch", "update"], Behaviour::Status)
    }

    /// `scale`.
    pub fn scale<T: 'static>(read: fn(&T) -> Scale, write: fn(&mut T, i32)) -> Self {
        let behaviour = Behaviour::Scale {
            read: Box::new(move |object| read(typed(object))),
            write: Box::new(move |object, replicas| write(typed_mut(object), replicas)),
        };
        let scale = Self::new("scale", &["get", "patch", "update"], behaviour);
        Self { request: Some(("autoscaling", "v1", "Scale")), ..scale }
    }

    /// `eviction`.
    pub fn eviction() -> Self {
        let eviction = Self::new("eviction", &["create"], Behaviour::Evict);
        Self { request: Some(("policy", "v1", "Eviction")), ..eviction }
    }

    /// A part of the object that is written by itself: `replace` takes it over from the second.
    pub fn replace<T: 'static>(name: &'static str, replace: fn(&mut T, &T)) -> Self {
        let replace: Replace = Box::new(move |new, asked| replace(typed_mut(new), typed(asked)));
        Self::new(name, &["update"], Behaviour::Replace(replace))
    }

    /// A request that changes the object: `read` from its body, then `apply`.
    pub fn act<T: 'static, R: Send + Sync + 'static>(
        name: &'static str,
        request: Request,
        read: fn(Value) -> Result<R, ApiError>,
        apply: fn(&R, &mut T, Time) -> Result<(), ApiError>,
    ) -> Self {
        let act: Act = Box::new(move |body| {
            let read = read(body)?;
            Ok(Box::new(move |object, now| apply(&read, typed_mut(object), now)))
        });
        Self { request: Some(request), ..Self::new(name, &["create"], Behaviour::Act(act)) }
    }

    /// The same beside a resource of its own, for requests that name the object themselves.
    pub fn with_collection(self, plural: &'static str, singular: &'static str) -> Self {
        Self { collection: Some((plural, singular)), ..self }
    }

    /// `log`, `exec` and `attach` of an object's containers.
    pub fn streams<T: 'static>(
        locate: fn(&T, Option<&str>) -> Result<Container, ApiError>,
    ) -> [Self; 3] {
        let stream = |name, request, verbs, stream| {
            let locate: Locate =
                Box::new(move |object, container| locate(typed(object), container));
            Self { request, ..Self::new(name, verbs, Behaviour::Stream(stream, locate)) }
        };
        let both = &["create", "get"];
        [
            stream("log", None, &["get"], Stream::Log),
            stream("exec", Some(("", "v1", "PodExecOptions")), both, Stream::Exec),
            stream("attach", Some(("", "v1", "PodAttachOptions")), both, Stream::Attach),
        ]
    }
}
