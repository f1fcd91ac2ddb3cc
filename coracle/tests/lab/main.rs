//! The lab from the outside: the program itself, real namespaces, real packets. Where the
//! tests run as root, each runs as an ordinary user as well. Never needs a cluster that
//! works: the network is there before the API is.

mod fixture;

use fixture::{Lab, User, scenario};

/// A web server in one place and a client in another, with bash alone as the client.
fn fetch_hostname(lab: &Lab, client: &str, address: &str) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/8080 && printf 'GET /hostname.html HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    );
    let answer = lab.exec(client, &["bash", "-c", &script]);
    answer.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn nodes_and_outside_reach_each_other() {
    scenario(|user| {
        let lab = Lab::start(user, &["--nodes", "2"]);
        let places = [
            ("control-plane", "192.168.77.10"),
            ("worker-1", "192.168.77.11"),
            ("worker-2", "192.168.77.12"),
            ("outside", "192.168.78.2"),
        ];
        let _servers: Vec<_> =
            places.iter().map(|(name, _)| lab.serve_inside(name, 8080)).collect();
        for (client, _) in places {
            for (server, address) in places {
                assert_eq!(
                    fetch_hostname(&lab, client, address),
                    server,
                    "from {client} to {address} as {user:?}"
                );
            }
        }
    });
}

#[test]
fn exec_passes_on_status_directory_and_host_name() {
    scenario(|user| {
        let lab = Lab::start(user, &[]);
        let (status, _) = lab.try_exec("worker-1", &["sh", "-c", "exit 7"]);
        assert_eq!(status, 7);
        let (status, _) = lab.try_exec("worker-1", &["sh", "-c", "kill -9 $$"]);
        assert_eq!(status, 128 + 9);
        let (status, text) = lab.try_exec("worker-1", &["/nonexistent"]);
        assert_eq!(status, 127, "{text}");
        assert_eq!(lab.exec("worker-2", &["uname", "-n"]).trim(), "worker-2");
        assert_eq!(lab.exec("outside", &["sh", "-c", "cat /proc/1/comm"]).trim(), "coracle");
        assert_eq!(lab.exec("outside", &["pwd"]).trim(), lab.directory());
        let (status, text) = lab.try_exec("worker-9", &["true"]);
        assert_eq!(status, 1);
        assert!(text.contains("worker-1, worker-2, outside"), "{text}");
    });
}

#[test]
fn the_end_of_either_process_leaves_nothing() {
    scenario(|user| {
        let before = fixture::mounts();
        for victim in ["host", "supervisor"] {
            let mut lab = Lab::start(user, &[]);
            let _server = lab.serve_inside("worker-1", 8080);
            assert!(lab.processes_inside() >= 2, "the supervisor and a server");
            lab.kill(victim);
            lab.await_nothing_left();
            assert_eq!(fixture::mounts(), before, "mounts after kill -9 of the {victim}");
        }
    });
}

#[test]
fn an_orderly_end_leaves_nothing_and_the_same_directory_starts_again() {
    scenario(|user| {
        let mut lab = Lab::start(user, &[]);
        let first = lab.server();
        lab.down();
        lab.await_nothing_left();
        let (status, text) = lab.coracle(&["status"]);
        assert_eq!((status, text.contains("no lab runs")), (3, true), "{text}");
        lab.start_again(&[]);
        assert_eq!(lab.server(), first, "the same address");
    });
}

#[test]
fn two_labs_run_side_by_side() {
    scenario(|user| {
        let one = Lab::start(user, &["--nodes", "1"]);
        let two = Lab::start(user, &["--nodes", "1"]);
        assert_ne!(one.server(), two.server());
        let _server = one.serve_inside("worker-1", 8080);
        assert_eq!(fetch_hostname(&one, "outside", "192.168.77.11"), "worker-1");
        let (status, _) =
            two.try_exec("outside", &["bash", "-c", "exec 3<>/dev/tcp/192.168.77.11/8080"]);
        assert_ne!(status, 0, "the second lab's node has no server");
    });
}

#[test]
fn one_directory_has_one_lab() {
    scenario(|user| {
        let lab = Lab::start(user, &[]);
        let (status, text) = lab.coracle(&["up"]);
        assert_eq!(status, 1);
        assert!(text.contains("a lab is running on"), "{text}");
        assert!(text.contains(&lab.server()), "{text}");
    });
}

#[test]
fn a_port_in_use_is_named() {
    let first = Lab::start(User::SELF, &["--port", "0"]);
    let at = first.server().replace("https://", "");
    let (address, port) = at.split_once(':').expect("address and port");
    // A second lab that had the same address at its last start.
    let second = Lab::prepare(User::SELF);
    second.write(
        "lab.json",
        &format!(
            r#"{{"topology":{{"service_cidr":"10.96.0.0/16","pod_cidr":"10.244.0.0/16","workers":2}},"address":"{address}","port":{port}}}"#
        ),
    );
    let (status, text) = second.coracle(&["up", "--port", port]);
    assert_eq!(status, 1);
    assert!(text.contains(&format!("--port {port}: {at} is in use")), "{text}");
}

#[test]
fn ranges_that_cannot_work_are_refused_before_anything_starts() {
    let lab = Lab::prepare(User::SELF);
    let cases = [
        (["--service-cidr", "192.168.77.0/24"], "the nodes' own network"),
        (["--pod-cidr", "10.96.0.0/16"], "overlap"),
        (["--pod-cidr", "10.244.0.0"], "invalid value"),
        (["--nodes", "200"], "at most 100"),
    ];
    for (args, expected) in cases {
        let (status, text) = lab.coracle(&["up", args[0], args[1]]);
        assert_ne!(status, 0);
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    assert!(!lab.exists("store"), "nothing was made");
}

#[test]
fn the_host_reaches_the_api_inside_also_after_a_crash_of_the_api_server() {
    scenario(|user| {
        let lab = Lab::start(user, &[]);
        lab.await_api();
        let first = lab.component("apiserver");
        let status = std::fs::read_to_string(format!("/proc/{first}/status")).expect("status");
        assert!(
            status.contains("SigBlk:\t0000000000000000"),
            "a component hears every signal: {status}"
        );
        lab.kill_component(first);
        lab.await_api();
        assert_ne!(lab.component("apiserver"), first, "it was started again");
    });
}

#[test]
fn every_commands_help_has_examples_of_it() {
    let lab = Lab::prepare(User::SELF);
    for command in ["up", "down", "status", "exec"] {
        let (status, text) = lab.coracle(&[command, "--help"]);
        assert_eq!(status, 0, "{text}");
        let examples = text.split_once("Examples:").map(|(_, after)| after);
        let shown = examples.is_some_and(|text| text.contains(&format!("coracle {command}")));
        assert!(shown, "{command}: {text}");
    }
}

#[test]
fn the_control_plane_alone_needs_no_namespace_and_leaves_nothing() {
    scenario(|user| {
        let mut lab = Lab::prepare(user);
        let (status, text) = lab.coracle(&["up", "--control-plane-only", "--detach"]);
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("export KUBECONFIG="), "{text}");
        let server = lab.component("apiserver");
        let (status, text) = lab.try_exec("worker-1", &["true"]);
        assert_eq!(status, 1);
        assert!(text.contains("--control-plane-only"), "{text}");
        lab.kill("host");
        lab.await_end_of(server);
        lab.await_nothing_left();
    });
}

#[test]
fn the_kubeconfig_goes_where_the_user_says_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::prepare(User::SELF);
    let wanted = format!("{}/admin.conf", lab.directory());
    let args = ["up", "--control-plane-only", "--detach", "--kubeconfig", &wanted];
    let (status, text) = lab.coracle(&args);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains(&format!("export KUBECONFIG={wanted}")), "{text}");
    let mode = std::fs::metadata(&wanted).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    lab.down();
}
