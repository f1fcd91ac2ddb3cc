//! A cluster under test, whatever its nodes are: namespaces or containers. Clients talk to it, and
//! packets are sent from places in it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    Answer, Client, Output, Request,
    client::FIRST_MINOR_WITH_WEBSOCKET,
    tools::{say, stock_kubectl},
};

/// Longest wait of a request, in milliseconds, where a test does not say another.
const TIMEOUT_MS: u64 = 2_000;
/// The place that is no node: a client outside the cluster.
pub const OUTSIDE: &str = "outside";

/// A cluster with at least the nodes `worker-1` and `worker-2`, and the place [`OUTSIDE`].
pub trait Cluster: Send + Sync {
    /// A command that runs a program of this machine in a node (or `outside`).
    fn command_in(&self, place: &str, program: &[&str]) -> Command;

    /// The program under test, on this machine.
    fn binary(&self) -> &Path;

    /// The path of the probe, in every place.
    fn probe(&self) -> String;

    /// The admin's kubeconfig, on this machine.
    fn kubeconfig(&self) -> PathBuf;

    /// The address of `outside`.
    fn outside_address(&self) -> String;

    /// An address beside that of `outside`, which nobody has.
    fn nobodys_address(&self) -> String;

    /// The address of this machine on which every node port answers, if there is one.
    fn host_address(&self) -> Option<String>;

    /// The addresses of the API servers inside the cluster, sorted.
    fn api_addresses(&self) -> Vec<String>;

    /// What the lab printed so far.
    fn log(&self) -> String;

    /// Runs a program of this machine in a node (or `outside`).
    fn exec(&self, place: &str, program: &[&str]) -> Output {
        Output::of(&mut self.command_in(place, program))
    }

    /// Starts a program of this machine in a node (or `outside`) and leaves it running, its
    /// standard output in a pipe.
    fn spawn(&self, place: &str, program: &[&str]) -> Child {
        let mut command = self.command_in(place, program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// Sends so many requests, one after another, from a place in the lab.
    fn get_many(&self, place: &str, to: SocketAddr, path: &str, count: usize) -> Vec<Answer> {
        let request = Request { to, path: path.to_owned(), timeout_ms: TIMEOUT_MS };
        self.get_with(place, &request, count)
    }

    /// Sends one request from a place in the lab.
    fn get(&self, place: &str, to: SocketAddr, path: &str) -> Answer {
        self.get_many(place, to, path, 1).remove(0)
    }

    /// The same with every choice open.
    fn get_with(&self, place: &str, request: &Request, count: usize) -> Vec<Answer> {
        let words = self.probe_get(request, count, 0);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = self.exec(place, &words).ok_lines();
        assert_eq!(text.len(), count, "one line a request: {text:?}");
        text.iter().map(|line| line.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    /// The probe's command line for these requests, to be run in a place with `spawn`.
    fn probe_get(&self, request: &Request, count: usize, pause_ms: u64) -> Vec<String> {
        vec![
            self.probe(),
            "get".into(),
            request.to.to_string(),
            request.path.clone(),
            count.to_string(),
            pause_ms.to_string(),
            request.timeout_ms.to_string(),
        ]
    }

    /// kubectl-lite, and stock kubectl where there is one.
    fn clients(&self) -> Vec<Client> {
        let lite = self.lite();
        let stock = stock_kubectl().map(|(program, minor)| {
            let mut stock = Client {
                name: "kubectl",
                program: vec![program],
                minor,
                ..lite.clone()
            };
            if minor >= FIRST_MINOR_WITH_WEBSOCKET {
                stock.exec_program = stock.program.clone();
            } else {
                say(&format!(
                    "kubectl 1.{minor} runs `exec` over SPDY, which is not served: kubectl-lite does it"
                ));
            }
            stock
        });
        stock.into_iter().chain([lite]).collect()
    }

    /// kubectl-lite.
    fn lite(&self) -> Client {
        let program = vec![self.binary().to_owned(), "kubectl".into()];
        Client {
            name: "lite",
            exec_program: program.clone(),
            program,
            kubeconfig: self.kubeconfig(),
            minor: u32::MAX,
        }
    }

    /// Internal addresses of the nodes, by name.
    fn nodes(&self) -> Vec<(String, String)> {
        let text = self.lite().run(&["get", "nodes", "-o", "json"]).ok();
        let list: Value = serde_json::from_str(&text).expect("a list of nodes");
        let nodes = list["items"].as_array().cloned().unwrap_or_default();
        nodes
            .iter()
            .map(|node| (node["metadata"]["name"].clone(), internal_ip(node)))
            .map(|(name, ip)| (name.as_str().unwrap_or_default().to_owned(), ip))
            .collect()
    }

    /// Names of the nodes.
    fn node_names(&self) -> Vec<String> {
        self.nodes().into_iter().map(|(name, _)| name).collect()
    }

    /// Names of the nodes, and `outside`.
    fn places(&self) -> Vec<String> {
        let outside = [OUTSIDE.to_owned()];
        self.node_names().into_iter().chain(outside).collect()
    }
}

fn internal_ip(node: &Value) -> String {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    let first = internal.next().and_then(|address| address["address"].as_str());
    first.unwrap_or_default().to_owned()
}
