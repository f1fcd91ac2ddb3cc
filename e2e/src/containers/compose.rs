//! The lab of `lab/compose`, started and ended by its own script.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Output;

use super::{ContainerLab, Ending, PROJECT_LABEL, TEST_PROJECT, docker::free_net};

/// What the lab is started with.
#[derive(Debug, Clone, Default)]
pub struct ComposeOptions {
    /// More arguments of `up`, such as `--small`.
    pub up: Vec<String>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/compose/lab")
}

/// A command line of the lab's script.
fn lab(variables: &[(&'static str, String)], args: &[&str]) -> Command {
    let mut command = Command::new(script());
    command.args(args).envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port().to_string()
}

pub(super) fn start(options: &ComposeOptions, tag: &str) -> ContainerLab {
    let name = format!("{TEST_PROJECT}{}", std::process::id());
    let net = free_net();
    let variables = vec![
        ("CORACLE_LAB", name.clone()),
        ("CORACLE_NET", net.clone()),
        ("CORACLE_PORT", free_port()),
        ("CORACLE_WEB_PORT", free_port()),
        ("CORACLE_TAG", tag.to_owned()),
    ];
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kubeconfig = directory.path().join("kubeconfig");
    let lab_of = ContainerLab {
        label: format!("{PROJECT_LABEL}={name}"),
        member_label: "com.docker.compose.service",
        network: format!("{name}_cluster"),
        net,
        tag: tag.to_owned(),
        kubeconfig: kubeconfig.clone(),
        ending: Ending::Compose(variables.clone()),
        _directory: directory,
    };
    let up: Vec<&str> = ["up"].into_iter().chain(options.up.iter().map(String::as_str)).collect();
    let started = Output::of(&mut lab(&variables, &up));
    assert!(started.code == 0, "{}\n{}", started.stdout, started.stderr);
    fs::write(&kubeconfig, Output::of(&mut lab(&variables, &["kubeconfig"])).ok())
        .expect("the kubeconfig is written");
    lab_of.copy_probe();
    lab_of
}

pub(super) fn end(variables: &[(&'static str, String)]) {
    let ended = Output::of(&mut lab(variables, &["down"]));
    if ended.code != 0 {
        eprintln!("{}\n{}", ended.stdout, ended.stderr);
    }
}
