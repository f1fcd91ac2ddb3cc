//! Bodies in, objects or errors out: unknown and duplicate fields, wrong types, positions.
//!
//! Never names an inner function: everything goes through `decode`.

use api::{
    decode::{self, Format},
    kinds,
};

fn decoded(plural: &str, format: Format, body: &str) -> Result<(String, Vec<String>), String> {
    let group = if plural == "deployments" { "apps" } else { "" };
    let kind = kinds::find(group, "v1", plural).expect("a kind");
    decode::decode(kind, body.as_bytes(), format)
        .map(|decoded| (decoded.object.to_value().to_string(), decoded.issues))
        .map_err(|error| error.message)
}

#[track_caller]
fn check_issues(plural: &str, format: Format, body: &str, expected: &[&str]) {
    let (_, issues) = decoded(plural, format, body).expect("an object");
    assert_eq!(issues, expected);
}

#[track_caller]
fn check_error(plural: &str, format: Format, body: &str, expected: &str) {
    let error = decoded(plural, format, body).expect_err("an error");
    assert!(error.contains(expected), "{error}\n lacks\n{expected}");
}

use Format::{Json, Yaml};

#[test]
fn unknown_fields_are_named_by_path() {
    check_issues("services", Json, r#"{"spec":{"ports":[{"port":80}]}}"#, &[]);
    check_issues(
        "services",
        Json,
        r#"{"spec":{"foo":null,"ports":[{"port":80,"prot":"TCP"}]},"extra":{}}"#,
        &[
            "unknown field \"extra\"",
            "unknown field \"spec.foo\"",
            "unknown field \"spec.ports[0].prot\"",
        ],
    );
    check_issues(
        "configmaps",
        Json,
        r#"{"data":{"anything":"goes"},"metadata":{"labels":{"a":"b"}}}"#,
        &[],
    );
}

#[test]
fn duplicate_fields_are_named_by_path_and_the_last_counts() {
    for (format, body) in [
        (Json, r#"{"spec":{"type":"NodePort","type":"ClusterIP"}}"#),
        (Yaml, "spec:\n  type: NodePort\n  type: ClusterIP\n"),
    ] {
        let (object, issues) = decoded("services", format, body).expect("an object");
        assert_eq!(issues, ["duplicate field \"spec.type\""]);
        assert!(object.contains("ClusterIP"), "{object}");
    }
    check_issues(
        "services",
        Json,
        r#"{"spec":{"ports":[{"port":1,"port":2,"port":3}]}}"#,
        &["duplicate field \"spec.ports[0].port\""],
    );
}

#[test]
fn wrong_types_name_the_field() {
    check_error(
        "deployments",
        Json,
        r#"{"spec":{"replicas":"3"}}"#,
        "Deployment in version \"v1\" cannot be handled as a Deployment: \
         json: cannot unmarshal string into field spec.replicas of type int32",
    );
    check_error(
        "deployments",
        Json,
        r#"{"spec":{"replicas":99999999999}}"#,
        "cannot unmarshal number 99999999999 into field spec.replicas of type int32",
    );
    check_error(
        "services",
        Json,
        r#"{"spec":{"ports":{}}}"#,
        "object into field spec.ports of type array",
    );
    check_error(
        "services",
        Json,
        r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
        "spec.ports[0].targetPort",
    );
    check_error(
        "pods",
        Json,
        r#"{"metadata":{"creationTimestamp":"soon"}}"#,
        "metadata.creationTimestamp",
    );
    check_error("secrets", Json, r#"{"data":{"k":"***"}}"#, "data.k");
    check_error("services", Json, "[]", "the body is array, not an object");
}

#[test]
fn malformed_bodies_name_the_position() {
    check_error("services", Json, "{\"spec\":\n  {,}}", "line 2 column 4");
    check_error("services", Json, "{} {}", "line 1 column 4");
    check_error("services", Yaml, "spec:\n  a: b\n c: d\n", "line 3");
    check_error("services", Json, "", "the body is not JSON");
}

#[test]
fn another_kind_or_version_is_refused() {
    check_issues("services", Json, r#"{"apiVersion":"v1","kind":"Service"}"#, &[]);
    check_error(
        "services",
        Json,
        r#"{"apiVersion":"apps/v1","kind":"Service"}"#,
        "the API version in the data (apps/v1) does not match the expected API version (v1)",
    );
    check_error("services", Json, r#"{"kind":"Pod"}"#, "the kind in the data (Pod)");
}

#[test]
fn yaml_keeps_quoted_numbers_as_text() {
    let body = "data:\n  a: '80'\n  b: \"true\"\n";
    let (object, issues) = decoded("configmaps", Yaml, body).expect("an object");
    assert!(object.contains(r#""data":{"a":"80","b":"true"}"#), "{object}");
    assert!(issues.is_empty());
    check_error(
        "configmaps",
        Yaml,
        "data:\n  a: 80\n",
        "number 80 into field data.a of type string",
    );
}
