//! Mode `ipvs` on a real kernel, in a virtual machine. Never touches this machine's.

use std::process::Command;

use super::vm::in_vm;

/// All tests of this file run in one machine.
const GROUP: &str = "ipvs_kernel::";

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_machine_has_ipvs_and_dummy() {
    in_vm(GROUP, "ipvs_kernel::the_machine_has_ipvs_and_dummy", || {
        output("ip", "link add kube-ipvs0 type dummy");
        output("ipvsadm", "-A -t 10.96.0.1:80 -s rr");
        assert_eq!(output("ipvsadm", "-Sn"), "-A -t 10.96.0.1:80 -s rr\n");
    });
}
