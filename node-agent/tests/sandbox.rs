//! Sandboxes and containers for real: processes, addresses and files inside namespaces of the test's own.

mod namespace;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use namespace::run_inside;
use node_agent::local_runtime::LocalRuntime;
use node_agent::runtime::{Input, Output, Runtime, Streams};
use node_agent::shim::protocol::{InstanceExit, InstanceState, WindowSize};
use node_agent::shim::spec::{
    ContainerSpec, ExecSpec, MountSpec, NetworkSpec, RootSpec, SandboxSpec,
};

const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 11);
/// Bound of every wait: reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

struct Lab {
    directory: tempfile::TempDir,
    runtime: LocalRuntime,
}

impl Lab {
    fn new() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_node-agent")).to_owned();
        sh(
            "ip link set lo up; ip addr add 192.168.77.11/32 dev lo; echo 1 > /proc/sys/net/ipv4/ip_forward",
        );
        let runtime = LocalRuntime {
            pods: directory.path().into(),
            shim_program: program.clone(),
            image_binary: program,
        };
        Lab { directory, runtime }
    }

    async fn sandbox(
        &self,
        uid: &str,
        ip: [u8; 4],
    ) -> tokio::sync::mpsc::Receiver<Vec<InstanceState>> {
        let network = Some(NetworkSpec { pod_ip: ip.into(), node_ip: NODE_IP });
        let directory = self.directory.path().join(uid);
        let spec =
            SandboxSpec { uid: uid.into(), hostname: format!("host-{uid}"), network, directory };
        self.runtime.start_sandbox(&spec).await.unwrap();
        self.runtime.watch_sandbox(uid).await.unwrap()
    }

    fn container(&self, uid: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            id: format!("{uid}-c"),
            name: "main".into(),
            attempt: 0,
            root: RootSpec::Host,
            argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: vec![
                ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
                ("GREETING".into(), "hello".into()),
            ],
            cwd: "/".into(),
            mounts: vec![],
            tty: false,
            stdin: false,
            stdin_once: false,
            privileged: false,
            add_capabilities: vec![],
            log: self.directory.path().join(uid).join("logs/main/0.log"),
        }
    }

    async fn run(&self, uid: &str, script: &str) {
        self.runtime.start_container(uid, &self.container(uid, script)).await.unwrap();
    }

    /// Waits until `SLEEP` has set its trap: process 1 ignores a signal that has no handler yet.
    async fn ready(&self, uid: &str) {
        let ready = async {
            while !self.log(uid).contains("ready") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("ready");
    }

    /// What a command in the pod's container prints, and how it ends.
    async fn exec(&self, uid: &str, script: &str) -> (String, i32) {
        let argv = ["sh", "-c", script].map(str::to_owned).into();
        let spec = ExecSpec { id: format!("{uid}-c"), argv, tty: false, stdin: false };
        read_all(&mut self.runtime.exec(uid, &spec).await.unwrap()).await
    }

    fn log(&self, uid: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(uid).join("logs/main/0.log"))
            .unwrap_or_default()
    }
}

async fn read_all(streams: &mut Streams) -> (String, i32) {
    let mut text = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, streams.output.recv()).await.expect("output") {
            Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => text.extend(bytes),
            Some(Output::Exit(exit)) => {
                return (String::from_utf8(text).unwrap().trim().to_owned(), exit.code);
            }
            None => panic!("ended without an exit status: {}", String::from_utf8_lossy(&text)),
        }
    }
}

async fn exit_of_first(
    states: &mut tokio::sync::mpsc::Receiver<Vec<InstanceState>>,
) -> InstanceExit {
    loop {
        let list = tokio::time::timeout(PATIENCE, states.recv())
            .await
            .expect("a state")
            .expect("the sandbox");
        if let Some(exit) = list.first().and_then(|state| state.exit) {
            return exit;
        }
    }
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const SLEEP: &str = "trap 'exit 7' TERM; echo ready; while :; do sleep 1 & wait $!; done";

#[test]
fn a_container_has_namespaces_and_a_root_of_its_own() {
    run_inside("a_container_has_namespaces_and_a_root_of_its_own", async || {
        let lab = Lab::new();
        let _states = lab.sandbox("a", [10, 244, 1, 2]).await;
        lab.run("a", SLEEP).await;
        for (script, want) in [
            ("cat /proc/1/comm", "sh"),
            ("hostname", "host-a"),
            ("echo $GREETING", "hello"),
            ("touch /usr/x 2>&1 | grep -o 'Read-only file system'", "Read-only file system"),
            ("echo ok > /tmp/x; cat /tmp/x", "ok"),
            ("head -c 3 /dev/zero | wc -c; test -c /dev/null && echo null", "3\nnull"),
            ("ls /proc | grep -c '^[0-9]' | xargs test 9 -gt && echo few", "few"),
            ("ip -4 -o addr show dev eth0 | awk '{print $4}'", "10.244.1.2/32"),
            ("ip route show default | awk '{print $3}'", "169.254.1.1"),
            ("ip -o link show up | awk '{print $2}' | tr -d '\\n'", "lo:eth0@if"),
        ] {
            let (text, code) = lab.exec("a", script).await;
            let matches = if want.ends_with("@if") { text.starts_with(want) } else { text == want };
            assert!(matches && code == 0, "{script}: {code} {text}");
        }
        assert_eq!(lab.exec("a", "exit 3").await.1, 3);
        lab.runtime.remove_sandbox("a").await.unwrap();
    });
}

#[test]
fn packets_travel_between_pods_and_their_node() {
    run_inside("packets_travel_between_pods_and_their_node", async || {
        let lab = Lab::new();
        let server = "import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(200); s.end_headers(); \
                      s.wfile.write(s.client_address[0].encode())\n def log_message(s,*a): pass\nh.HTTPServer(('',80),H).serve_forever()";
        for (uid, last) in [("a", 2), ("b", 3)] {
            let _states = lab.sandbox(uid, [10, 244, 1, last]).await;
            lab.run(uid, &format!("exec python3 -c \"{server}\"")).await;
        }
        let get = |ip: &str| {
            format!("curl -s --retry 50 --retry-connrefused --retry-delay 1 -m 20 http://{ip}/")
        };
        assert_eq!(
            lab.exec("a", &get("10.244.1.3")).await.0,
            "10.244.1.2",
            "pod to pod keeps its source"
        );
        assert_eq!(lab.exec("a", &get("10.244.1.2")).await.0, "10.244.1.2", "a pod to itself");
        assert_eq!(
            sh(&get("10.244.1.3")),
            NODE_IP.to_string(),
            "the node's packets carry its own address"
        );
        for uid in ["a", "b"] {
            lab.runtime.remove_sandbox(uid).await.unwrap();
        }
    });
}

#[test]
fn streams_exit_codes_and_errors_of_commands() {
    run_inside("streams_exit_codes_and_errors_of_commands", async || {
        let lab = Lab::new();
        let _states = lab.sandbox("a", [10, 244, 1, 2]).await;
        lab.run("a", SLEEP).await;
        let spec = |argv: &[&str], tty| ExecSpec {
            id: "a-c".into(),
            argv: argv.iter().map(|word| word.to_string()).collect(),
            tty,
            stdin: true,
        };

        let mut cat = lab.runtime.exec("a", &spec(&["cat"], false)).await.unwrap();
        cat.input.send(Input::Bytes(b"through".to_vec())).await.unwrap();
        cat.input.send(Input::Close).await.unwrap();
        assert_eq!(read_all(&mut cat).await, ("through".into(), 0));

        let mut tty = lab
            .runtime
            .exec("a", &spec(&["sh", "-c", "read x; stty size; tty; echo $TERM"], true))
            .await
            .unwrap();
        tty.input.send(Input::Resize(WindowSize { columns: 33, rows: 11 })).await.unwrap();
        tty.input.send(Input::Bytes(b"go\n".to_vec())).await.unwrap();
        let (text, code) = read_all(&mut tty).await;
        assert_eq!(
            (text.split_whitespace().collect::<Vec<_>>(), code),
            (vec!["go", "11", "33", "/dev/pts/0", "xterm"], 0)
        );

        let error = lab.runtime.exec("a", &spec(&["no-such-program"], false)).await.unwrap_err();
        assert!(error.to_string().contains("executable file not found in $PATH"), "{error:#}");

        // A client that goes away takes its command along.
        let gone = lab.runtime.exec("a", &spec(&["sleep", "4321"], false)).await.unwrap();
        drop(gone);
        let wait = "for i in $(seq 300); do grep -qs 4321 /proc/[0-9]*/cmdline || exit 0; sleep 0.1; done; exit 1";
        assert_eq!(lab.exec("a", &wait.replace("4321", "43''21")).await.1, 0);
        lab.runtime.remove_sandbox("a").await.unwrap();
    });
}

#[test]
fn ends_are_reported_and_output_is_logged() {
    run_inside("ends_are_reported_and_output_is_logged", async || {
        let lab = Lab::new();
        let mut states = lab.sandbox("a", [10, 244, 1, 2]).await;
        lab.run("a", "echo out; echo err >&2; exit 5").await;
        let exit = exit_of_first(&mut states).await;
        assert_eq!((exit.code, exit.signal), (5, 0));
        let log = lab.log("a");
        let mut lines: Vec<&str> =
            log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["stderr F err", "stdout F out"]);

        let mut states = lab.sandbox("b", [10, 244, 1, 3]).await;
        lab.run("b", SLEEP).await;
        lab.ready("b").await;
        lab.runtime.signal_container("b", "b-c", 15).await.unwrap();
        assert_eq!(exit_of_first(&mut states).await.code, 7);

        let mut states = lab.sandbox("c", [10, 244, 1, 4]).await;
        lab.run("c", SLEEP).await;
        lab.runtime.signal_container("c", "c-c", 9).await.unwrap();
        let exit = exit_of_first(&mut states).await;
        assert_eq!((exit.code, exit.signal), (137, 9));

        let mut missing = lab.container("c", "");
        (missing.id, missing.argv) = ("other".into(), vec!["/no/such/file".into()]);
        let error = lab.runtime.start_container("c", &missing).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error:#}");
        for uid in ["a", "b", "c"] {
            lab.runtime.remove_sandbox(uid).await.unwrap();
        }
    });
}

#[test]
fn a_builtin_image_runs_its_program_with_volumes() {
    run_inside("a_builtin_image_runs_its_program_with_volumes", async || {
        let lab = Lab::new();
        let data = lab.directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(lab.directory.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        let mut states = lab.sandbox("a", [10, 244, 1, 2]).await;
        let mut spec = lab.container("a", "/bin/coracle --version > /data/version; cat /etc/hosts > /data/hosts; touch /ro/x || echo ro > /data/ro");
        spec.root = RootSpec::Builtin { binary: lab.runtime.image_binary.clone() };
        spec.mounts = vec![
            MountSpec { source: data.clone(), target: "/data".into(), read_only: false },
            MountSpec { source: data.clone(), target: "/ro".into(), read_only: true },
            MountSpec {
                source: lab.directory.path().join("hosts"),
                target: "/etc/hosts".into(),
                read_only: false,
            },
        ];
        lab.runtime.start_container("a", &spec).await.unwrap();
        exit_of_first(&mut states).await;
        let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
        assert_eq!(
            (read("hosts").as_str(), read("ro").as_str()),
            ("127.0.0.1 localhost\n", "ro\n"),
            "{}",
            lab.log("a")
        );
        assert!(read("version").contains("node-agent"), "{}", lab.log("a"));
        lab.runtime.remove_sandbox("a").await.unwrap();
    });
}

#[test]
fn a_pod_on_its_nodes_network_shares_its_name_and_addresses() {
    run_inside("a_pod_on_its_nodes_network_shares_its_name_and_addresses", async || {
        let lab = Lab::new();
        let spec = SandboxSpec {
            uid: "h".into(),
            hostname: "unused".into(),
            network: None,
            directory: lab.directory.path().join("h"),
        };
        lab.runtime.start_sandbox(&spec).await.unwrap();
        lab.run("h", SLEEP).await;
        assert_eq!(lab.exec("h", "hostname").await, (sh("hostname"), 0));
        assert_eq!(lab.exec("h", "ip -4 -o addr").await.0, sh("ip -4 -o addr"));
        lab.runtime.remove_sandbox("h").await.unwrap();
    });
}

#[test]
fn a_killed_shim_leaves_no_process_and_its_pod_starts_anew() {
    run_inside("a_killed_shim_leaves_no_process_and_its_pod_starts_anew", async || {
        let lab = Lab::new();
        let before = processes();
        let mut states = lab.sandbox("a", [10, 244, 1, 2]).await;
        lab.run("a", SLEEP).await;
        let shim: HashSet<String> =
            processes().into_iter().filter(|pid| name_of(pid) == "pod-shim").collect();
        assert_eq!(shim.len(), 1);
        sh(&format!("kill -9 {}", shim.iter().next().unwrap()));
        while tokio::time::timeout(PATIENCE, states.recv())
            .await
            .expect("the end of the watch")
            .is_some()
        {}
        let left =
            || processes().difference(&before).filter(|pid| !name_of(pid).is_empty()).count();
        tokio::time::timeout(PATIENCE, async {
            while left() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("all the pod's processes end with their shim");
        // The kernel closes a dying process's socket a moment after it has taken its memory.
        tokio::time::timeout(PATIENCE, async {
            while lab.runtime.watch_sandbox("a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("nobody answers for the dead shim");

        let _states = lab.sandbox("a", [10, 244, 1, 2]).await;
        lab.run("a", SLEEP).await;
        assert_eq!(lab.exec("a", "echo again").await, ("again".into(), 0));
        lab.runtime.remove_sandbox("a").await.unwrap();
    });
}

#[test]
fn a_container_killed_among_commands_that_start_is_seen_to_end() {
    run_inside("a_container_killed_among_commands_that_start_is_seen_to_end", async || {
        let lab = Lab::new();
        let mut states = lab.sandbox("a", [10, 244, 1, 2]).await;
        for round in 0..16 {
            let id = format!("round-{round}");
            let mut spec = lab.container("a", "exec sleep 4321");
            spec.id = id.clone();
            lab.runtime.start_container("a", &spec).await.unwrap();
            let mut commands = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (runtime, id) = (lab.runtime.clone(), id.clone());
                // Each starts, is killed with its container, or comes too late: all are good.
                commands.spawn(async move {
                    let argv = vec!["true".to_owned()];
                    let (tty, stdin) = (false, false);
                    let spec = ExecSpec { id, argv, tty, stdin };
                    runtime.exec("a", &spec).await.map(drop).ok();
                });
            }
            // The first to come back says that the others are on their way.
            commands.join_next().await;
            lab.runtime.signal_container("a", &id, 9).await.unwrap();
            loop {
                let list = tokio::time::timeout(PATIENCE, states.recv())
                    .await
                    .unwrap_or_else(|_| panic!("{id} never ends"))
                    .expect("the sandbox");
                let ended = |state: &InstanceState| state.id == id && state.exit.is_some();
                if list.iter().any(ended) {
                    break;
                }
            }
            commands.join_all().await;
        }
        lab.runtime.remove_sandbox("a").await.unwrap();
    });
}

fn processes() -> HashSet<String> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok())
        .collect()
}

fn name_of(pid: &str) -> String {
    // A zombie has no command line, and nobody here reaps those of the namespace's first process.
    let alive = std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if alive { name.trim().to_owned() } else { String::new() }
}
