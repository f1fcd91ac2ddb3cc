//! What the lab in containers says where it cannot start: the cause, and what to do next.
//!
//! Never talks to a container engine: a program of the test's own stands in for `docker`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// An engine that is new enough, has every image and runs nothing.
const HEALTHY: &str = r#"
case "$1 $2" in
  "version --format") echo "${FAKE_VERSION:-28.0.0}" ;;
  "compose version") echo v2.30.0 ;;
  "container ls") [ -z "${FAKE_CONTAINERS:-}" ] || echo "$FAKE_CONTAINERS" ;;
  "volume ls") [ -z "${FAKE_VOLUMES:-}" ] || echo "$FAKE_VOLUMES" ;;
  "image inspect") [ "$3" != "${FAKE_MISSING:-}" ] ;;
  "info --format") echo / ;;
  "compose -p") echo "compose was called: $*" >&2; exit 1 ;;
esac
"#;

/// What `lab up` says, having failed.
fn refused(docker: Option<&str>, variables: &[(&str, &str)]) -> String {
    refused_to("up", docker, variables)
}

/// Runs `lab VERB` with that `docker` first in the PATH; what it says, having failed.
fn refused_to(verb: &str, docker: Option<&str>, variables: &[(&str, &str)]) -> String {
    let bin = tempfile::tempdir().expect("a temporary directory");
    let mut path = bin.path().display().to_string();
    if let Some(script) = docker {
        let file = bin.path().join("docker");
        fs::write(&file, format!("#!/bin/sh\n{script}")).expect("the stand-in is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("and executable");
        path += ":/usr/bin:/bin";
    } else {
        // Only what the script itself needs.
        for program in ["bash", "dirname", "sed", "env"] {
            let found = PathBuf::from("/usr/bin").join(program);
            std::os::unix::fs::symlink(found, bin.path().join(program)).expect("a link");
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/compose/lab");
    let ended = Command::new("/bin/bash")
        .arg(script)
        .arg(verb)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "it did not fail: {said}");
    assert!(!said.contains("compose was called"), "too late: {said}");
    said
}

#[track_caller]
fn check(said: &str, cause: &str, next: &str) {
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].contains(cause) && lines[1].contains(next),
        "{said:?} should say {cause:?} and then {next:?}"
    );
}

#[test]
fn a_missing_engine_is_named_with_what_to_install() {
    check(&refused(None, &[]), "there is no docker", "docker.io");
}

#[test]
fn an_engine_that_is_too_old_is_named_with_the_version_that_is_needed() {
    let said = refused(Some(HEALTHY), &[("FAKE_VERSION", "19.03.15")]);
    check(&said, "19.03.15 is too old", "20.10 or later");
    // Podman behind Docker's API.
    let said = refused(Some(HEALTHY), &[("FAKE_VERSION", "4.2.0 Podman Engine,Conmon,")]);
    check(&said, "Podman 4.2.0 is too old", "4.3 or later");
}

#[test]
fn podmans_own_command_line_is_not_taken_for_dockers() {
    let podman = "echo 'podman version 5.4.2'";
    let said = refused(Some(podman), &[]);
    check(&said, "Podman's own command line", "DOCKER_HOST=");
}

#[test]
fn an_engine_that_does_not_answer_is_to_be_started() {
    let dead = "echo 'Cannot connect to the Docker daemon' >&2; exit 1";
    let said = refused(Some(dead), &[]);
    check(&said, "Cannot connect to the Docker daemon", "start it");
}

#[test]
fn a_missing_image_is_to_be_built() {
    let said = refused(Some(HEALTHY), &[("FAKE_MISSING", "coracle-etcd:local")]);
    check(&said, "coracle-etcd:local is not there", "lab/compose/build");
}

#[test]
fn a_lab_that_runs_or_left_something_is_to_be_ended() {
    let said = refused(Some(HEALTHY), &[("FAKE_CONTAINERS", "0123456789ab")]);
    check(&said, "is there already", "lab/compose/lab down");
    let said = refused(Some(HEALTHY), &[("FAKE_VOLUMES", "coracle_shared")]);
    check(&said, "left volumes", "lab/compose/lab down");
}

#[test]
fn containers_of_others_are_not_ended() {
    let said = refused_to(
        "down",
        Some(HEALTHY),
        &[("CORACLE_LAB", "shop"), ("FAKE_CONTAINERS", "shop_database_1")],
    );
    check(&said, "shop is no lab: it has shop_database_1", "CORACLE_LAB=NAME");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_variable_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for variable in ["CORACLE_PORT", "CORACLE_WEB_PORT"] {
        // The other one is free: nobody listens on it.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let other = free.local_addr().expect("an address").port().to_string();
        drop(free);
        let variables = [
            ("CORACLE_PORT", other.as_str()),
            ("CORACLE_WEB_PORT", other.as_str()),
            (variable, &port),
        ];
        let said = refused(Some(HEALTHY), &variables);
        check(&said, &format!("port {port} of 127.0.0.1 is taken"), variable);
    }
}
