//! Reviews: what `kubectl auth whoami` and `kubectl auth can-i` ask.
//! Never stores anything, so a review cannot be read back.

mod support;

use serde_json::json;
use support::{
    Api,
    kubectl::told,
    secure::{Secure, have},
};

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn who_asks_is_told_who_they_are() {
    let api = Api::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = api.post(path, json!({ "metadata": {} })).await;
    assert_eq!(review.code, 201);
    assert_eq!(review.body["kind"], "SelfSubjectReview");
    assert_eq!(review.body["apiVersion"], "authentication.k8s.io/v1");
    let user = json!({ "username": "tester", "groups": ["system:authenticated"] });
    assert_eq!(review.body["status"]["userInfo"], user);
}

#[tokio::test]
async fn access_is_what_the_authorizer_says() {
    let api = Api::start().await;
    for spec in [
        json!({ "resourceAttributes": { "verb": "create", "resource": "pods", "namespace": "a" } }),
        json!({ "nonResourceAttributes": { "verb": "get", "path": "/metrics" } }),
    ] {
        let review = api.post(ACCESS, json!({ "spec": spec })).await.ok();
        assert_eq!(review["status"], json!({ "allowed": true }));
        assert_eq!(review["spec"], spec);
    }
    for spec in [json!({}), json!({ "resourceAttributes": {}, "nonResourceAttributes": {} })] {
        let error = api.post(ACCESS, json!({ "spec": spec })).await.error();
        assert!(error.starts_with("400 BadRequest: spec: exactly one of"), "{error}");
    }
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = api.post(path, json!({ "spec": { "namespace": "a" } })).await;
    let rule = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
    assert_eq!(review.ok()["status"]["resourceRules"], json!([rule]));
}

#[tokio::test]
async fn a_review_can_only_be_created() {
    let api = Api::start().await;
    let error = api.get(ACCESS).await.error();
    assert!(error.starts_with("405 MethodNotAllowed"), "{error}");
    let error = api.get(&format!("{ACCESS}/a")).await.error();
    assert!(error.starts_with("404 NotFound"), "{error}");
    let error = api.post(ACCESS, json!([])).await.error();
    assert!(error.starts_with("400 BadRequest"), "{error}");
    let list = api.get("/apis/authorization.k8s.io/v1").await.ok();
    for resource in list["resources"].as_array().unwrap() {
        assert_eq!(resource["verbs"], json!(["create"]), "{resource}");
    }
}

#[tokio::test]
async fn stock_kubectl_asks_in_protobuf() {
    if !have("kubectl") {
        return;
    }
    let secure = Secure::start(&[]).await;
    let config = secure.kubeconfig();
    let answer = told(&config, "auth can-i create pods", "").await;
    assert_eq!(answer.trim(), "yes");
    let answer = told(&config, "auth can-i get /metrics", "").await;
    assert_eq!(answer.trim(), "yes");
    let answer = told(&config, "auth whoami -o jsonpath={.status.userInfo.groups}", "").await;
    assert!(answer.contains("system:authenticated"), "{answer}");
    let answer = told(&config, "auth can-i --list", "").await;
    assert!(answer.contains("*.*"), "{answer}");
}
