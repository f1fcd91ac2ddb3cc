//! Kinds that are only kept for others: what a stock server answers for them (v1.36.2).

mod support;

use serde_json::{Value, json};
use support::Api;

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const PRIORITIES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// An object named `a`, with these fields.
fn named(fields: Value) -> Value {
    let mut object = json!({ "metadata": { "name": "a" } });
    for (field, value) in fields.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

fn limits(limits: Value) -> Value {
    named(json!({ "spec": { "limits": limits } }))
}

/// Headings and cells of the only object, but for its age.
async fn table(api: &Api, path: &str) -> String {
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = api.request("GET", path, &accept, "").await.ok();
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let shown = columns.zip(cells).map(|(column, cell)| match column["name"].as_str().unwrap() {
        name @ ("Age" | "Created At") => name.to_owned(),
        name => format!("{name}={cell}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_pod_template_is_defaulted_and_checked_as_pods_are() {
    let api = Api::start().await;
    let containers = json!([{ "name": "c", "image": "i" }]);
    let template =
        json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": containers } });
    let created = api.post(TEMPLATES, named(json!({ "template": template }))).await.ok();
    assert_eq!(created["template"]["spec"]["restartPolicy"], "Always");
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(
        table(&api, TEMPLATES).await,
        "Name=\"a\" Containers=\"c\" Images=\"i\" Pod Labels=\"a=b\""
    );
    let patch = json!({ "template": { "metadata": { "labels": { "a": "c" } } } });
    let patched = api.merge(&format!("{TEMPLATES}/a"), patch).await.ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    let error = api.post(TEMPLATES, json!({ "metadata": { "name": "b" } })).await.error();
    assert_eq!(
        error,
        "422 Invalid: PodTemplate \"b\" is invalid: template.spec.containers: Required value"
    );
}

#[tokio::test]
async fn a_limit_range_fills_in_what_follows() {
    let api = Api::start().await;
    let created = api
        .post(
            LIMITS,
            limits(json!([
                { "type": "Container", "default": { "cpu": "500m" }, "max": { "cpu": "1" } },
                { "type": "Pod", "max": { "memory": "1Gi" } },
            ])),
        )
        .await
        .ok();
    assert_eq!(
        created["spec"]["limits"],
        json!([
            {
                "type": "Container", "max": { "cpu": "1" },
                "default": { "cpu": "500m" }, "defaultRequest": { "cpu": "500m" },
            },
            { "type": "Pod", "max": { "memory": "1Gi" } },
        ])
    );
    assert_eq!(table(&api, LIMITS).await, "Name=\"a\" Created At");
    api.delete(&format!("{LIMITS}/a")).await.ok();
    let name_part = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let bad_type = format!("spec.limits[0].type: Invalid value: \"a b\": {name_part}");
    let first = "spec.limits[0]";
    for (asked, want) in [
        (
            json!([{ "type": "Container", "max": { "cpu": "2" }, "default": { "cpu": "3" } }]),
            format!(
                "[{first}.defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 2, {first}.default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2]"
            ),
        ),
        (
            json!([{ "type": "Pod", "max": { "cpu": "2" }, "min": { "cpu": "3" } }]),
            format!(
                "{first}.min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2"
            ),
        ),
        (
            json!([{ "type": "Container", "max": { "cpu": "2" }, "maxLimitRequestRatio": { "cpu": "500m" } }]),
            format!(
                "{first}.maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"
            ),
        ),
        (
            json!([{ "type": "Container", "max": { "cpu": "1" } }, { "type": "Container", "max": { "cpu": "2" } }]),
            "spec.limits[1].type: Duplicate value: \"Container\"".to_owned(),
        ),
        (json!([{ "type": "a b", "max": { "cpu": "2" } }]), bad_type),
        (
            json!([{ "type": "Pod", "default": { "cpu": "1" } }]),
            format!("{first}.default: Forbidden: may not be specified when `type` is 'Pod'"),
        ),
        (
            json!([{ "type": "PersistentVolumeClaim" }]),
            format!(
                "{first}.limits: Required value: either minimum or maximum storage value is required, but neither was provided"
            ),
        ),
    ] {
        let error = api.post(LIMITS, limits(asked)).await.error();
        assert_eq!(error, format!("422 Invalid: LimitRange \"a\" is invalid: {want}"));
    }
}

#[tokio::test]
async fn a_controller_revision_keeps_its_data() {
    let api = Api::start().await;
    let revision =
        |data: i32, revision: i32| named(json!({ "revision": revision, "data": { "a": data } }));
    api.post(REVISIONS, revision(1, 1)).await.ok();
    assert_eq!(table(&api, REVISIONS).await, "Name=\"a\" Controller=\"<none>\" Revision=1 Age");
    let path = format!("{REVISIONS}/a");
    let error = api.put(&path, revision(2, 1)).await.error();
    let invalid = "422 Invalid: ControllerRevision.apps \"a\" is invalid";
    assert_eq!(error, format!("{invalid}: data: Invalid value: {{\"a\":2}}: field is immutable"));
    let mut owned = revision(1, 2);
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "u", "controller": true,
    }]);
    api.put(&path, owned).await.ok();
    assert_eq!(
        table(&api, REVISIONS).await,
        "Name=\"a\" Controller=\"daemonset.apps/web\" Revision=2 Age"
    );
    api.delete(&path).await.ok();
    let error = api.post(REVISIONS, named(json!({ "revision": 1 }))).await.error();
    assert_eq!(error, format!("{invalid}: data: Required value: data is mandatory"));
}

#[tokio::test]
async fn priority_classes_keep_their_value_and_one_is_the_default() {
    let api = Api::start().await;
    let created = api.post(PRIORITIES, named(json!({ "value": 7 }))).await.ok();
    assert_eq!(created["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(
        table(&api, &format!("{PRIORITIES}?fieldSelector=metadata.name%3Da")).await,
        "Name=\"a\" Value=7 Global-Default=false Age PreemptionPolicy=\"PreemptLowerPriority\""
    );
    let path = format!("{PRIORITIES}/a");
    let invalid = "422 Invalid: PriorityClass.scheduling.k8s.io";
    assert_eq!(
        api.put(&path, named(json!({ "value": 8 }))).await.error(),
        format!("{invalid} \"a\" is invalid: value: Forbidden: may not be changed in an update.")
    );
    for (name, value, want) in [
        (
            "b",
            1_000_000_001,
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "system-b",
            7,
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-b is not a known system priority class",
        ),
    ] {
        let class = json!({ "metadata": { "name": name }, "value": value });
        let error = api.post(PRIORITIES, class).await.error();
        assert_eq!(error, format!("{invalid} \"{name}\" is invalid: {want}"));
    }
    api.merge(&path, json!({ "globalDefault": true })).await.ok();
    // Its own older version is not another one.
    api.merge(&path, json!({ "description": "the usual" })).await.ok();
    let second = json!({ "metadata": { "name": "b" }, "value": 1, "globalDefault": true });
    assert_eq!(
        api.post(PRIORITIES, second).await.error(),
        "403 Forbidden: priorityclasses.scheduling.k8s.io \"b\" is forbidden: PriorityClass a is already marked as default. Only one default can exist"
    );
    let system = json!({ "metadata": { "name": "system-node-critical" }, "value": 2_000_001_000 });
    api.post(PRIORITIES, system).await.ok();
    assert_eq!(
        api.delete(&format!("{PRIORITIES}/system-node-critical")).await.error(),
        "403 Forbidden: priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted"
    );
}
