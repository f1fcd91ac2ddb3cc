//! An EndpointSlice as the API server holds it, its endpoints left in JSON until somebody asks:
//! most slices that a watch brings are those that this program wrote.

use std::borrow::Cow;

use anyhow::Context;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An EndpointSlice with endpoints and ports in JSON.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredSlice {
    /// As of any object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    address_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoints: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<Box<RawValue>>,
}

impl StoredSlice {
    /// One of which only the metadata is known.
    pub fn bare(metadata: ObjectMeta) -> Self {
        Self { metadata, ..Self::default() }
    }

    /// The slice with all it holds.
    ///
    /// # Errors
    /// Endpoints or ports are not what an EndpointSlice may have.
    pub fn decode(&self) -> anyhow::Result<EndpointSlice> {
        fn list<T: for<'a> Deserialize<'a>>(raw: Option<&RawValue>) -> anyhow::Result<Option<T>> {
            Ok(raw.map(|raw| serde_json::from_str(raw.get())).transpose()?)
        }
        let name = || format!("EndpointSlice {:?}", self.metadata.name);
        Ok(EndpointSlice {
            metadata: self.metadata.clone(),
            address_type: self.address_type.clone(),
            endpoints: list(self.endpoints.as_deref()).with_context(name)?,
            ports: list(self.ports.as_deref()).with_context(name)?,
        })
    }
}

impl Resource for StoredSlice {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        EndpointSlice::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        EndpointSlice::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        EndpointSlice::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        EndpointSlice::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    fn slice() -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "default", "resourceVersion": "7"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })
    }

    #[test]
    fn lists_and_watches_are_read() {
        let typed: EndpointSlice = serde_json::from_value(slice()).expect("a slice");
        let list = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": "9"}, "items": [slice()],
        });
        let list: ObjectList<StoredSlice> =
            serde_json::from_str(&list.to_string()).expect("a list of slices");
        assert_eq!(list.items[0].decode().expect("readable"), typed);
        let event = format!(r#"{{"type":"MODIFIED","object":{}}}"#, slice());
        let event: WatchEvent<StoredSlice> = serde_json::from_str(&event).expect("an event");
        let WatchEvent::Modified(stored) = event else { panic!("{event:?}") };
        assert_eq!(stored.decode().expect("readable"), typed);
    }

    #[test]
    fn a_slice_without_endpoints_is_read_and_one_with_nonsense_is_named() {
        let empty =
            json!({"metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": null});
        let empty: StoredSlice = serde_json::from_str(&empty.to_string()).expect("a slice");
        assert_eq!(empty.decode().expect("readable").endpoints, None);
        let broken = json!({"metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": 7});
        let broken: StoredSlice = serde_json::from_str(&broken.to_string()).expect("a slice");
        assert!(format!("{:#}", broken.decode().expect_err("no list")).contains("web-1"));
    }
}
