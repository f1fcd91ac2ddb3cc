//! Clients of the API server, as programs: stock kubectl and kubectl-lite, with one way to call both.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 where a signal ended it.
    pub code: i32,
}

impl Output {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::with_input(command, "")
    }

    /// Runs with `input` on standard input.
    pub fn with_input(command: &mut Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        // A program that ends early does not read all of it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program can be waited for");
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// The standard output of a run that must have worked.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.code == 0,
            "exit code {}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The lines of the standard output of a run that must have worked.
    #[track_caller]
    pub fn ok_lines(self) -> Vec<String> {
        self.ok().lines().map(str::to_owned).collect()
    }

    /// The standard error of a run that must have failed.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(
            self.code != 0,
            "it did not fail\nstdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

/// A client program.
#[derive(Debug, Clone)]
pub struct Client {
    /// How tests name it.
    pub name: &'static str,
    /// Program and leading arguments.
    pub program: Vec<PathBuf>,
    /// The admin's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The minor version it speaks, such as 32 for kubectl 1.32.
    pub minor: u32,
    /// Program and leading arguments for `exec`, where the client's own cannot do it.
    pub exec_program: Vec<PathBuf>,
}

/// The first kubectl that runs `exec` over WebSocket; those before it speak SPDY only.
pub const FIRST_MINOR_WITH_WEBSOCKET: u32 = 31;

impl Client {
    /// A command that can still be changed.
    pub fn command(&self) -> Command {
        self.command_of(&self.program)
    }

    fn command_of(&self, program: &[PathBuf]) -> Command {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        Output::of(self.command().args(args))
    }

    /// Makes a namespace of its own for a test; it goes with the lab.
    pub fn namespace(&self, name: &str) -> Namespace {
        let name = format!("{name}-{}", self.name);
        let manifest = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
        Output::with_input(self.command().args(["create", "-f", "-"]), &manifest).ok();
        Namespace { client: self.clone(), name }
    }
}

/// A client with a namespace: what most tests use.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// The client that makes the calls.
    pub client: Client,
    /// The namespace's name.
    pub name: String,
}

impl Namespace {
    /// Runs the client with `-n`.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, "")
    }

    /// `run` with standard input.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        // The flag comes first: after `--` it would belong to the command in the container.
        Output::with_input(self.client.command().args(["-n", &self.name]).args(args), input)
    }

    /// `exec POD -- COMMAND`.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Output {
        let mut command = self.client.command_of(&self.client.exec_program);
        command.args(["-n", &self.name, "exec", pod, "--"]);
        Output::of(command.args(words))
    }

    /// `apply -f -`; the manifest must be taken.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.run_with_input(&["apply", "-f", "-"], manifest).ok()
    }

    /// `edit`: every occurrence of `from` in the object's YAML becomes `to`.
    #[track_caller]
    pub fn edit(&self, object: &str, from: &str, to: &str) -> Output {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let editor = dir.path().join("editor");
        let script = format!("#!/bin/sh\nexec sed -i 's|{from}|{to}|g' \"$1\"\n");
        fs::write(&editor, script).expect("the editor script is written");
        let mut command = self.client.command();
        command.env("KUBE_EDITOR", format!("sh {}", editor.display()));
        Output::of(command.args(["-n", &self.name, "edit", object]))
    }

    /// An object (or a list) as JSON.
    #[track_caller]
    pub fn get(&self, what: &[&str]) -> Value {
        let text = self.run(&[&["get"], what, &["-o", "json"]].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// The cluster IP of a Service.
    #[track_caller]
    pub fn cluster_ip(&self, service: &str) -> String {
        text(&self.get(&["service", service])["spec"]["clusterIP"])
    }

    /// Names of the pods with these labels, sorted; deleted ones left out.
    #[track_caller]
    pub fn pods(&self, labels: &str) -> Vec<String> {
        let list = self.get(&["pods", "-l", labels]);
        let mut names: Vec<String> = items(&list)
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| text(&pod["metadata"]["name"]))
            .collect();
        names.sort();
        names
    }

    /// (ready, not ready) addresses in the Endpoints of a Service, sorted.
    #[track_caller]
    pub fn endpoints(&self, service: &str) -> (Vec<String>, Vec<String>) {
        let output = self.run(&["get", "endpoints", service, "-o", "json"]);
        let endpoints: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let all = |field: &str| {
            let mut found: Vec<String> = endpoints["subsets"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|subset| subset[field].as_array().into_iter().flatten())
                .map(|address| text(&address["ip"]))
                .collect();
            found.sort();
            found.dedup();
            found
        };
        (all("addresses"), all("notReadyAddresses"))
    }

    /// Waits until a pod is ready.
    #[track_caller]
    pub fn wait_ready(&self, pod: &str) {
        let timeout = format!("--timeout={}s", crate::WAIT_S);
        let pod = format!("pod/{pod}");
        self.run(&["wait", "--for=condition=Ready", &pod, &timeout]).ok();
    }

    /// Waits until a Service has so many ready and not ready addresses.
    #[track_caller]
    pub fn wait_endpoints(&self, service: &str, ready: usize, not_ready: usize) -> Vec<String> {
        crate::wait_for(
            &format!("{ready} ready and {not_ready} other endpoints of {service}"),
            || {
                let (yes, no) = self.endpoints(service);
                if yes.len() == ready && no.len() == not_ready {
                    Ok(yes)
                } else {
                    Err(format!(
                        "ready {yes:?}, not ready {no:?}\n{}",
                        self.run(&["get", "pods", "-o", "wide"]).stdout
                    ))
                }
            },
        )
    }
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
