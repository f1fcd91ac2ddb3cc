//! Rows of cluster IPs: whom they lead to, who is masqueraded, and what is refused.

use proxy_agent::routes::Family;
use proxy_agent::settings::LocalTraffic;

use super::Group;

pub const GROUPS: &[Group] = &[
    Group::new("cluster IP", ONE_PORT, ONE_PORT_ROWS),
    Group::new("which endpoints", ENDPOINTS, ENDPOINTS_ROWS),
    Group::new("several ports", PORTS, PORTS_ROWS),
    Group::new("masquerade all", SOURCES, MASQUERADE_ALL_ROWS)
        .with(|settings| settings.masquerade_all = true),
    Group::new("pods cannot be told", SOURCES, UNKNOWN_ROWS)
        .with(|settings| settings.local_traffic = LocalTraffic::Unknown),
    Group::new("pods of this node by network", SOURCES, NODE_CIDR_ROWS).with(|settings| {
        let network = match settings.family {
            Family::V4 => "10.244.1.0/24",
            Family::V6 => "fd44:1::/32",
        };
        settings.local_traffic = LocalTraffic::Network(network.parse().expect("a network"));
    }),
    Group::new("pods by interface", SOURCES, INTERFACE_ROWS)
        .with(|settings| settings.local_traffic = LocalTraffic::Interface("pod-a".to_owned())),
    Group::new("pods by an interface's prefix", SOURCES, PREFIX_ROWS)
        .with(|settings| settings.local_traffic = LocalTraffic::InterfacePrefix("pod-".to_owned())),
];

const ONE_PORT: &str = "
    svc web 10.96.0.10,fd96::10 80/tcp
    ep web 10.244.1.11:8080 node-1
    ep web 10.244.1.12:8080 node-1
    ep web 10.244.2.11:8080 node-2
    ep web [fd44:1::11]:8080 node-1
    ep web [fd44:1::12]:8080 node-1
    ep web [fd44:2::11]:8080 node-2
    svc self 10.96.0.11,fd96::11 80/tcp
    ep self 10.244.1.11:8080 node-1
    ep self [fd44:1::11]:8080 node-1
    svc none 10.96.0.12,fd96::12 80/tcp
    svc none-udp 10.96.0.13,fd96::13 53/udp
    svc none-sctp 10.96.0.14,fd96::14 132/sctp
    svc dns 10.96.0.15,fd96::15 53/udp
    ep dns 10.244.1.12:5353 node-1
    ep dns [fd44:1::12]:5353 node-1
    svc sctp 10.96.0.16,fd96::16 3868/sctp
    ep sctp 10.244.1.12:3868 node-1
    ep sctp [fd44:2::11]:3868 node-2
    svc here 10.96.0.17,fd96::17 80/tcp
    ep here 192.168.77.11:8080 node-1
    ep here [fd77::11]:8080 node-1
    svc only-4 10.96.0.18 80/tcp
    ep only-4 10.244.1.12:8080 node-1
    svc only-6 fd96::19 80/tcp
    ep only-6 [fd44:1::12]:8080 node-1
    # of both families, with endpoints of one
    svc half 10.96.0.22,fd96::22 80/tcp node-port=30022
    ep half 10.244.1.12:8080 node-1
    svc headless None 80/tcp
    ep headless 10.244.1.12:8080 node-1
    svc other 10.96.0.20,fd96::20 80/tcp proxy-name=another
    ep other 10.244.1.12:8080 node-1
    svc alone 10.96.0.23,fd96::23 80/tcp label=service.kubernetes.io/headless
    ep alone 10.244.1.12:8080 node-1
    svc name - 80/tcp external-ip=198.51.100.21
    ep name 10.244.1.12:8080 node-1
";

const ONE_PORT_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.0.10:80 => 10.244.1.11:8080 masq | 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.12 -> tcp 10.96.0.10:80 => 10.244.1.11:8080 | 10.244.1.12:8080 masq | 10.244.2.11:8080
    192.168.77.11 -> tcp 10.96.0.10:80 => 10.244.1.11:8080 masq | 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 10.96.0.10:80 => 10.244.1.11:8080 masq | 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    fd44:1::11 -> tcp [fd96::10]:80 => [fd44:1::11]:8080 masq | [fd44:1::12]:8080 | [fd44:2::11]:8080
    fd77::11 -> tcp [fd96::10]:80 => [fd44:1::11]:8080 masq | [fd44:1::12]:8080 masq | [fd44:2::11]:8080 masq
    fd78::2 -> tcp [fd96::10]:80 => [fd44:1::11]:8080 masq | [fd44:1::12]:8080 masq | [fd44:2::11]:8080 masq
    # a pod that reaches itself
    10.244.1.11 -> tcp 10.96.0.11:80 => 10.244.1.11:8080 masq
    10.244.1.12 -> tcp 10.96.0.11:80 => 10.244.1.11:8080
    fd44:1::11 -> tcp [fd96::11]:80 => [fd44:1::11]:8080 masq
    fd44:1::12 -> tcp [fd96::11]:80 => [fd44:1::11]:8080
    # a port and a protocol that the Service does not have
    10.244.1.11 -> tcp,udp,sctp 10.96.0.11:81 => reject
    192.168.77.11 -> tcp,udp,sctp 10.96.0.11:81 => reject
    192.168.78.2 -> tcp 10.96.0.11:81 => reject
    10.244.1.11 -> udp,sctp 10.96.0.11:80 => reject
    fd44:1::11 -> tcp,udp,sctp [fd96::11]:81 => reject
    fd77::11 -> tcp,udp,sctp [fd96::11]:81 => reject
    fd44:1::11 -> udp [fd96::11]:80 => reject
    # nobody serves
    10.244.1.11 -> tcp 10.96.0.12:80 => reject
    192.168.77.11 -> tcp 10.96.0.12:80 => reject
    192.168.78.2 -> tcp 10.96.0.12:80 => reject
    10.244.1.11 -> udp 10.96.0.13:53 => reject
    192.168.77.11 -> udp 10.96.0.13:53 => reject
    10.244.1.11 -> sctp 10.96.0.14:132 => reject
    fd44:1::11 -> tcp [fd96::12]:80 => reject
    fd77::11 -> tcp [fd96::12]:80 => reject
    fd44:1::11 -> udp [fd96::13]:53 => reject
    fd77::11 -> udp [fd96::13]:53 => reject
    fd44:1::11 -> sctp [fd96::14]:132 => reject
    # other protocols
    10.244.1.11 -> udp 10.96.0.15:53 => 10.244.1.12:5353
    192.168.77.11 -> udp 10.96.0.15:53 => 10.244.1.12:5353 masq
    192.168.78.2 -> udp 10.96.0.15:53 => 10.244.1.12:5353 masq
    fd44:1::11 -> udp [fd96::15]:53 => [fd44:1::12]:5353
    fd77::11 -> udp [fd96::15]:53 => [fd44:1::12]:5353 masq
    10.244.1.11 -> sctp 10.96.0.16:3868 => 10.244.1.12:3868
    192.168.77.11 -> sctp 10.96.0.16:3868 => 10.244.1.12:3868 masq
    fd44:1::11 -> sctp [fd96::16]:3868 => [fd44:2::11]:3868
    fd77::11 -> sctp [fd96::16]:3868 => [fd44:2::11]:3868 masq
    # an endpoint on the node's own network
    10.244.1.11 -> tcp 10.96.0.17:80 => 192.168.77.11:8080
    192.168.78.2 -> tcp 10.96.0.17:80 => 192.168.77.11:8080
    fd44:1::11 -> tcp [fd96::17]:80 => [fd77::11]:8080
    # a Service of one family
    10.244.1.11 -> tcp 10.96.0.18:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::19]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.0.22:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::22]:80 => reject
    fd77::11 -> tcp [fd96::22]:80 => reject
    192.168.78.2 -> tcp 192.168.77.11:30022 => 10.244.1.12:8080 masq
    fd78::2 -> tcp [fd77::11]:30022 => reject
    # Services that are none of this proxy's, and what is no Service's
    10.244.1.11 -> tcp 10.96.0.20:80 => untouched
    fd44:1::11 -> tcp [fd96::20]:80 => untouched
    10.244.1.11 -> tcp 10.96.0.23:80 => untouched
    fd44:1::11 -> tcp [fd96::23]:80 => untouched
    10.244.1.11 -> tcp 198.51.100.21:80 => untouched
    10.244.1.11 -> tcp,udp,sctp 10.244.1.12:8080 => untouched
    192.168.78.2 -> tcp,udp,sctp 192.168.77.11:8080 => untouched
    fd44:1::11 -> tcp,udp,sctp [fd44:1::12]:8080 => untouched
";

const ENDPOINTS: &str = "
    # several slices, and an endpoint that moves between two of them
    svc many 10.96.1.10,fd96::1:10 80/tcp
    ep many 10.244.1.11:8080 node-1 slice=a
    ep many 10.244.1.12:8080 node-1 slice=b
    ep many 10.244.2.11:8080 node-2 slice=b
    ep many 10.244.2.11:8080 node-2 slice=c
    ep many [fd44:1::11]:8080 node-1 slice=a
    ep many [fd44:1::12]:8080 node-1 slice=b
    ep many [fd44:1::12]:8080 node-1 slice=c
    # the same address twice, ready in one of them
    svc twice 10.96.1.11 80/tcp
    ep twice 10.244.1.12:8080 node-1 slice=a not-ready
    ep twice 10.244.1.12:8080 node-1 slice=b
    # one pod, two ports of it
    svc two-ports 10.96.1.12 80/tcp
    ep two-ports 10.244.1.12:8080 node-1
    ep two-ports 10.244.1.12:9090 node-1 slice=b
    svc unready 10.96.1.13,fd96::1:13 80/tcp
    ep unready 10.244.1.12:8080 node-1 not-ready
    ep unready [fd44:1::12]:8080 node-1 not-ready
    svc published 10.96.1.14,fd96::1:14 80/tcp
    ep published 10.244.1.12:8080 node-1 published
    ep published [fd44:1::12]:8080 node-1 published
    svc leaving 10.96.1.15,fd96::1:15 80/tcp
    ep leaving 10.244.1.12:8080 node-1 terminating
    ep leaving 10.244.2.11:8080 node-2 not-ready
    ep leaving [fd44:1::12]:8080 node-1 terminating
    svc gone 10.96.1.16,fd96::1:16 80/tcp
    ep gone 10.244.1.12:8080 node-1 terminating not-ready
    ep gone [fd44:1::12]:8080 node-1 terminating not-ready
    svc mixed 10.96.1.17,fd96::1:17 80/tcp
    ep mixed 10.244.1.12:8080 node-1
    ep mixed 10.244.2.11:8080 node-2 terminating
    ep mixed [fd44:1::12]:8080 node-1
    ep mixed [fd44:2::11]:8080 node-2 terminating
    # two Services with one address: the first by name has it
    svc a-claims 10.96.1.18 80/tcp external-ip=198.51.100.50
    ep a-claims 10.244.1.12:8080 node-1
    svc b-claims 10.96.1.19 80/tcp external-ip=198.51.100.50
    ep b-claims 10.244.2.11:8080 node-2
    # nobody knows where the endpoint runs: its own pod may call
    svc nowhere 10.96.1.20 80/tcp
    ep nowhere 10.244.1.12:8080 -
    # an address outside the cluster
    svc outer 10.96.1.21,fd96::1:21 6666/tcp
    ep outer 192.168.78.2:8080 -
    ep outer [fd78::2]:8080 -
";

const ENDPOINTS_ROWS: &str = "
    10.244.1.12 -> tcp 10.96.1.10:80 => 10.244.1.11:8080 | 10.244.1.12:8080 masq | 10.244.2.11:8080
    fd44:2::11 -> tcp [fd96::1:10]:80 => [fd44:1::11]:8080 | [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.1.11:80 => 10.244.1.12:8080
    10.244.1.11 -> tcp 10.96.1.12:80 => 10.244.1.12:8080 | 10.244.1.12:9090
    10.244.1.11 -> tcp 10.96.1.13:80 => reject
    192.168.77.11 -> tcp 10.96.1.13:80 => reject
    fd44:1::11 -> tcp [fd96::1:13]:80 => reject
    10.244.1.11 -> tcp 10.96.1.14:80 => 10.244.1.12:8080
    192.168.77.11 -> tcp 10.96.1.14:80 => 10.244.1.12:8080 masq
    fd44:1::11 -> tcp [fd96::1:14]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.1.15:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::1:15]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.1.16:80 => reject
    fd44:1::11 -> tcp [fd96::1:16]:80 => reject
    10.244.1.11 -> tcp 10.96.1.17:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::1:17]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 198.51.100.50:80 => 10.244.1.12:8080 masq
    10.244.1.11 -> tcp 10.96.1.19:80 => 10.244.2.11:8080
    10.244.1.12 -> tcp 10.96.1.20:80 => 10.244.1.12:8080 masq
    10.244.1.11 -> tcp 10.96.1.20:80 => 10.244.1.12:8080
    10.244.1.11 -> tcp 10.96.1.21:6666 => 192.168.78.2:8080
    fd77::11 -> tcp [fd96::1:21]:6666 => [fd78::2]:8080 masq
";

const PORTS: &str = "
    svc all 10.96.2.10,fd96::2:10 80/tcp,80/udp,80/sctp,81/tcp node-port=30080,30080,30080,30081
    ep all 10.244.1.12 node-1 ports=tcp-80:8080,udp-80:5353,sctp-80:7070,tcp-81:9090
    ep all [fd44:1::12] node-1 ports=tcp-80:8080,udp-80:5353,sctp-80:7070,tcp-81:9090
    # a named target port is another number in each pod
    svc named 10.96.2.11 80/tcp,81/tcp
    ep named 10.244.1.12 node-1 ports=tcp-80:8080
    ep named 10.244.2.11 node-2 ports=tcp-80:9090 slice=b
";

const PORTS_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.2.10:80 => 10.244.1.12:8080
    10.244.1.11 -> udp 10.96.2.10:80 => 10.244.1.12:5353
    10.244.1.11 -> sctp 10.96.2.10:80 => 10.244.1.12:7070
    10.244.1.11 -> tcp 10.96.2.10:81 => 10.244.1.12:9090
    10.244.1.11 -> udp 10.96.2.10:81 => reject
    192.168.77.11 -> sctp 10.96.2.10:80 => 10.244.1.12:7070 masq
    192.168.78.2 -> tcp 192.168.77.11:30080 => 10.244.1.12:8080 masq
    192.168.78.2 -> udp 192.168.77.11:30080 => 10.244.1.12:5353 masq
    192.168.78.2 -> sctp 192.168.77.11:30080 => 10.244.1.12:7070 masq
    192.168.78.2 -> tcp 192.168.77.11:30081 => 10.244.1.12:9090 masq
    192.168.77.11 -> udp 192.168.77.11:30080 => 10.244.1.12:5353 masq
    192.168.77.11 -> sctp 192.168.79.11:30080 => 10.244.1.12:7070 masq
    fd44:1::11 -> tcp [fd96::2:10]:80 => [fd44:1::12]:8080
    fd44:1::11 -> udp [fd96::2:10]:80 => [fd44:1::12]:5353
    fd44:1::11 -> sctp [fd96::2:10]:80 => [fd44:1::12]:7070
    fd44:1::11 -> tcp [fd96::2:10]:81 => [fd44:1::12]:9090
    fd78::2 -> tcp [fd77::11]:30080 => [fd44:1::12]:8080 masq
    fd78::2 -> udp [fd77::11]:30080 => [fd44:1::12]:5353 masq
    fd78::2 -> sctp [fd77::11]:30080 => [fd44:1::12]:7070 masq
    10.244.1.11 -> tcp 10.96.2.11:80 => 10.244.1.12:8080 | 10.244.2.11:9090
    10.244.1.11 -> tcp 10.96.2.11:81 => reject
";

/// For the ways in which pods are told from others.
const SOURCES: &str = "
    svc web 10.96.3.10,fd96::3:10 80/tcp
    ep web 10.244.2.11:8080 node-2
    ep web [fd44:2::11]:8080 node-2
    svc edge 10.96.3.11,fd96::3:11 80/tcp node-port=30311 external-ip=198.51.100.11,2001:db8::11 external=Local
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
    ep edge [fd44:1::12]:8080 node-1
    ep edge [fd44:2::11]:8080 node-2
    svc port 10.96.3.12,fd96::3:12 80/tcp node-port=30312
    ep port 10.244.2.11:8080 node-2
    ep port [fd44:2::11]:8080 node-2
";

const MASQUERADE_ALL_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    fd44:1::11 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080 masq
    # only what goes through a cluster IP
    10.244.1.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    192.168.78.2 -> tcp 192.168.77.11:30311 => 10.244.1.12:8080
    fd78::2 -> tcp [2001:db8::11]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.244.1.12:8080 => untouched
";

const UNKNOWN_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    192.168.77.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    192.168.78.2 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    fd44:1::11 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080
    192.168.78.2 -> tcp 192.168.77.11:30312 => 10.244.2.11:8080 masq
    # a pod may be anybody; the node itself is known
    10.244.1.11 -> tcp 192.168.77.11:30311 => 10.244.1.12:8080
    10.244.1.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080
    192.168.77.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    fd77::11 -> tcp [2001:db8::11]:80 => [fd44:1::12]:8080 masq | [fd44:2::11]:8080 masq
    fd44:1::11 -> tcp [2001:db8::11]:80 => [fd44:1::12]:8080
";

const NODE_CIDR_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    10.244.2.12 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    10.244.1.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.2.12 -> tcp 192.168.77.11:30311 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080
    fd44:2::12 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080 masq
";

const INTERFACE_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    10.244.1.12 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    fd44:1::11 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080
    fd44:1::12 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080 masq
    10.244.1.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.2.12 -> tcp 198.51.100.11:80 => 10.244.1.12:8080
    192.168.77.11 -> tcp 198.51.100.11:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
";

const PREFIX_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    10.244.1.12 -> tcp 10.96.3.10:80 => 10.244.2.11:8080
    10.244.2.12 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 10.96.3.10:80 => 10.244.2.11:8080 masq
    fd44:1::12 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080
    fd78::2 -> tcp [fd96::3:10]:80 => [fd44:2::11]:8080 masq
    10.244.1.12 -> tcp 192.168.77.11:30311 => 10.244.1.12:8080 masq | 10.244.2.11:8080
    fd44:2::12 -> tcp [fd77::11]:30311 => [fd44:1::12]:8080
";
