//! One container of a lab: what a test does to it, and what it says.
//!
//! Never keeps an id: a container that was started again is found by its name.

use crate::Output;

use super::{ContainerLab, docker::docker};

/// A member of a lab, such as `etcd-1` or `worker-2`.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub(super) lab: &'a ContainerLab,
    pub(super) name: &'a str,
}

impl Member<'_> {
    /// Its container's id.
    #[track_caller]
    pub fn id(&self) -> String {
        let found = self.lab.ids_of(self.name);
        found.into_iter().next().unwrap_or_else(|| panic!("the lab has no member {}", self.name))
    }

    /// Stops all its processes where they are; its connections stay open and nothing answers.
    pub fn pause(&self) {
        self.docker("pause");
    }

    /// Lets them go on.
    pub fn unpause(&self) {
        self.docker("unpause");
    }

    /// Ends it without a warning. It is not started again by itself.
    pub fn kill(&self) {
        self.docker("kill");
    }

    /// Ends it as an operator does.
    pub fn stop(&self) {
        self.docker("stop");
    }

    /// Starts it again after `kill` or `stop`.
    pub fn start(&self) {
        self.docker("start");
    }

    /// What it printed, both outputs.
    pub fn logs(&self) -> String {
        let logs = docker(&["logs", "--tail", "200", &self.id()]);
        logs.stdout + &logs.stderr
    }

    /// Its address on the cluster's network; empty while it is down.
    pub fn address(&self) -> String {
        let format =
            format!("{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}", self.lab.network);
        docker(&["inspect", "--format", &format, &self.id()]).ok().trim().to_owned()
    }

    fn docker(&self, verb: &str) {
        docker(&[verb, &self.id()]).ok();
    }
}

/// A pod that sends requests.
pub struct FromPod<'a> {
    pub(super) lab: &'a ContainerLab,
    pub(super) pod: &'a str,
}

impl FromPod<'_> {
    /// Runs `curl` in the pod; its image must have it, as `coracle.local/tools` does.
    pub fn curl(&self, url: &str) -> Output {
        self.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url])
    }

    /// Runs a program in the pod.
    pub fn run(&self, words: &[&str]) -> Output {
        let (namespace, pod) = self.pod.split_once('/').unwrap_or(("default", self.pod));
        let client = crate::Cluster::lite(self.lab);
        client.run(&[&["-n", namespace, "exec", pod, "--"], words].concat())
    }
}
