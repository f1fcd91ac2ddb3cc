//! The Docker command line, as far as a lab needs it.
//!
//! Never pulls an image and never touches what it was not asked for by id or by label.

use std::process::Command;

use crate::{Output, tools::find};

/// Runs `docker ARGS`.
pub fn docker(args: &[&str]) -> Output {
    Output::of(Command::new("docker").args(args))
}

/// Why there are no labs in containers on this machine; nothing where there can be.
///
/// Panics where `CI` is set.
pub fn missing_docker() -> bool {
    let seen = ["docker", "docker-compose", "etcd", "etcdctl"]
        .into_iter()
        .find(|program| find(program).is_none())
        .map(|program| format!("{program} is not installed"))
        .or_else(|| {
            let version = docker(&["version", "--format", "{{.Server.Version}}"]);
            (version.code != 0)
                .then(|| format!("the Docker Engine does not answer: {}", version.stderr.trim()))
        });
    let Some(text) = seen else {
        return false;
    };
    assert!(std::env::var_os("CI").is_none(), "{text}");
    crate::tools::say(&format!("SKIPPED, no lab in containers: {text}"));
    true
}

/// Ids of what has a label: `kind` is `container`, `network` or `volume`.
pub fn labelled(kind: &str, label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let mut args = vec![kind, "ls", "-q", "--filter", &filter];
    if kind == "container" {
        args.push("-a");
    }
    docker(&args).ok_lines()
}

/// The values that a label has on what there is of a kind.
pub fn label_values(kind: &str, label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let format = format!("{{{{.Label \"{label}\"}}}}");
    let mut args = vec![kind, "ls", "--filter", &filter, "--format", &format];
    if kind == "container" {
        args.push("-a");
    }
    docker(&args).ok_lines()
}

/// Takes the containers with a label off all networks, one after another, and lets none come back.
///
/// Engines before 28.1 may miscount the members of a network where some end side by side and others
/// restart; the network then stays until the engine does (moby/moby#42119).
pub fn detach_labelled(label: &str) {
    let ids = labelled("container", label);
    if ids.is_empty() {
        return;
    }
    let mut update = vec!["update", "--restart", "no"];
    update.extend(ids.iter().map(String::as_str));
    docker(&update);
    let format =
        "{{range $name, $_ := .NetworkSettings.Networks}}{{$.Id}} {{$name}}{{println}}{{end}}";
    let mut inspect = vec!["container", "inspect", "--format", format];
    inspect.extend(ids.iter().map(String::as_str));
    for line in docker(&inspect).stdout.lines() {
        // What has ended by itself meanwhile is off its networks already.
        if let Some((id, network)) = line.split_once(' ') {
            docker(&["network", "disconnect", "--force", network, id]);
        }
    }
}

/// Removes everything with a label.
pub fn remove_labelled(label: &str) {
    detach_labelled(label);
    for kind in ["container", "network", "volume"] {
        let ids = labelled(kind, label);
        if ids.is_empty() {
            continue;
        }
        let mut args = vec![kind, "rm"];
        if kind == "container" {
            args.extend(["-f", "-v"]);
        }
        args.extend(ids.iter().map(String::as_str));
        let removed = docker(&args);
        if removed.code != 0 {
            eprintln!("{}", removed.stderr);
        }
    }
}

/// The first two numbers of a /16 that no network of the engine has, such as `10.213`.
pub fn free_net() -> String {
    let ids = docker(&["network", "ls", "-q"]).ok_lines();
    let mut args =
        vec!["network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}"];
    args.extend(ids.iter().map(String::as_str));
    let taken = docker(&args).ok();
    // Two test programs that start at once begin at different places.
    let first = std::process::id() % 50;
    (0..50)
        .map(|n| format!("10.{}", 200 + (first + n) % 50))
        .find(|net| !taken.contains(&format!("{net}.")))
        .expect("one of fifty networks is free")
}
