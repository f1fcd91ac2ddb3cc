//! OpenAPI v2: what v3 says, in the form of v2, and the same again in gnostic's protobuf.
//! Never compares whole documents: the facts that clients look for are named one by one.

mod support;

use prost::Message;
use serde_json::json;
use support::{
    Api,
    kubectl::{kubectl, told},
    secure::{Secure, have},
};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const SERVICE_PORT: &str = "io.k8s.api.core.v1.ServicePort";

#[tokio::test]
async fn the_json_form_has_what_old_clients_look_for() {
    let api = Api::start().await;
    let document = api.get("/openapi/v2").await.ok();
    assert_eq!(document["swagger"], "2.0");
    let definitions = &document["definitions"];
    let ports = &definitions["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    let reference = &ports["items"]["$ref"];
    assert_eq!(*reference, format!("#/definitions/{SERVICE_PORT}"));
    let target = &definitions[SERVICE_PORT]["properties"]["targetPort"];
    let int_or_string = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    assert_eq!(target["$ref"], format!("#/definitions/{int_or_string}"));
    assert_eq!(definitions[int_or_string]["type"], "string");
    assert_eq!(definitions[int_or_string]["format"], "int-or-string");
    let service = &document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"];
    let parameters = json!([
        { "name": "namespace", "in": "path", "required": true, "type": "string" },
        { "name": "name", "in": "path", "required": true, "type": "string" },
    ]);
    assert_eq!(service["parameters"], parameters);
    let put = service["put"]["parameters"].as_array().unwrap();
    assert!(put.iter().any(|p| p["name"] == "fieldValidation"));
    let body = put.iter().find(|p| p["in"] == "body").unwrap();
    assert_eq!(body["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Service");
    // v3's way of writing is left nowhere.
    let text = document.to_string();
    assert!(!text.contains("#/components/"));
    assert!(!text.contains("\"requestBody\"") && !text.contains("\"oneOf\""));
}

#[tokio::test]
async fn every_reference_leads_to_a_definition() {
    let api = Api::start().await;
    let document = api.get("/openapi/v2").await.ok();
    let text = document.to_string();
    let mut references = 0;
    for part in text.split("\"#/definitions/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(!document["definitions"][name].is_null(), "{name}");
        references += 1;
    }
    assert!(references > 100, "{references}");
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Definitions>,
}

#[derive(Clone, PartialEq, Message)]
struct Definitions {
    #[prost(message, repeated, tag = "1")]
    named: Vec<Definition>,
}

#[derive(Clone, PartialEq, Message)]
struct Definition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(message, optional, tag = "25")]
    properties: Option<Definitions>,
    #[prost(message, repeated, tag = "31")]
    extensions: Vec<Extension>,
}

#[derive(Clone, PartialEq, Message)]
struct Extension {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

#[tokio::test]
async fn the_protobuf_form_says_the_same() {
    let api = Api::start().await;
    let accept = [("accept", PROTOBUF)];
    let (parts, bytes) = api.bytes("GET", "/openapi/v2", &accept, "").await;
    assert_eq!(parts.headers["content-type"], PROTOBUF.replace('@', ".").as_str());
    let document = Document::decode(bytes).unwrap();
    assert_eq!(document.swagger, "2.0");
    let definitions = document.definitions.unwrap().named;
    let json = api.get("/openapi/v2").await.ok();
    let names: Vec<&String> = json["definitions"].as_object().unwrap().keys().collect();
    assert_eq!(definitions.iter().map(|d| &d.name).collect::<Vec<_>>(), names);
    let schema = |name: &str| {
        let found = definitions.iter().find(|d| d.name == name);
        found.and_then(|d| d.schema.clone()).unwrap()
    };
    let properties = schema(SERVICE_PORT).properties.unwrap().named;
    let target = properties.iter().find(|p| p.name == "targetPort").unwrap();
    assert_eq!(
        target.schema.as_ref().unwrap().reference,
        "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    );
    let service = schema("io.k8s.api.core.v1.Service");
    assert_eq!(service.extensions[0].name, "x-kubernetes-group-version-kind");
    let kinds = service.extensions[0].value.as_ref().unwrap();
    let kinds: serde_json::Value = serde_json::from_str(&kinds.yaml).unwrap();
    assert_eq!(kinds, json!([{ "group": "", "kind": "Service", "version": "v1" }]));
}

#[tokio::test]
async fn a_known_document_is_not_sent_again() {
    let api = Api::start().await;
    for accept in [PROTOBUF, "application/json"] {
        let first = api.request("GET", "/openapi/v2", &[("accept", accept)], "").await;
        let etag = first.headers["etag"].to_str().unwrap().to_owned();
        let headers = [("accept", accept), ("if-none-match", etag.as_str())];
        let again = api.request("GET", "/openapi/v2", &headers, "").await;
        assert_eq!((again.code, again.body), (304, "".into()));
    }
}

#[tokio::test]
async fn stock_kubectl_applies_lists_and_names_unknown_kinds() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } },
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "b" },
          "spec": { "ports": [{ "port": 80, "targetPort": 8080 }] } },
    ] });
    let output = told(&config, "apply -f -", &list.to_string()).await;
    assert_eq!(output, "configmap/a created\nservice/b created\n");
    let refused = |object: serde_json::Value| {
        let config = config.clone();
        async move {
            let output = kubectl(&config, "apply -f -", &object.to_string()).await;
            String::from_utf8_lossy(&output.stderr).into_owned()
        }
    };
    let mut misspelt = list;
    misspelt["items"][1]["spec"]["selecter"] = json!({});
    let told = refused(misspelt).await;
    assert!(told.contains("unknown field \"selecter\""), "{told}");
    let told = refused(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "a" },
    }))
    .await;
    let expected = "no matches for kind \"Ingress\" in version \"networking.k8s.io/v1\"";
    assert!(told.contains(expected), "{told}");
}
