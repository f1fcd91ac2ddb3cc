//! Rows of what clients outside the cluster use: node ports, external IPs, load
//! balancers' addresses, and who may use those.

use super::Group;

pub const GROUPS: &[Group] = &[
    Group::new("node ports", NODE_PORTS, NODE_PORTS_ROWS),
    Group::new("external addresses", ADDRESSES, ADDRESSES_ROWS),
    Group::new(
        "node ports on some addresses",
        NODE_PORTS,
        SOME_ADDRESSES_ROWS,
    )
    .with(|settings| {
        let networks = ["192.168.79.0/24", "fd79::/16"];
        settings.node_port_addresses = super::networks(settings.family, &networks);
    }),
];

const NODE_PORTS: &str = "
    svc port 10.96.4.10,fd96::4:10 80/tcp node-port=30410
    ep port 10.244.2.11:8080 node-2
    ep port [fd44:2::11]:8080 node-2
    svc none 10.96.4.11,fd96::4:11 80/tcp node-port=30411
    svc dns 10.96.4.12,fd96::4:12 53/udp node-port=30412
    ep dns 10.244.1.12:5353 node-1
    ep dns [fd44:1::12]:5353 node-1
    svc self 10.96.4.13,fd96::4:13 80/tcp node-port=30413
    ep self 10.244.1.11:8080 node-1
    ep self [fd44:1::11]:8080 node-1
    svc only-4 10.96.4.14 80/tcp node-port=30414
    ep only-4 10.244.1.12:8080 node-1
";

const NODE_PORTS_ROWS: &str = "
    # from everywhere, on each of the node's addresses
    192.168.78.2 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.79.11:30410 => 10.244.2.11:8080 masq
    192.168.77.12 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    10.244.1.11 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    10.244.2.12 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 192.168.79.11:30410 => 10.244.2.11:8080 masq
    192.168.79.11 -> tcp 192.168.79.11:30410 => 10.244.2.11:8080 masq
    fd78::2 -> tcp [fd77::11]:30410 => [fd44:2::11]:8080 masq
    fd78::2 -> tcp [fd79::11]:30410 => [fd44:2::11]:8080 masq
    fd44:1::11 -> tcp [fd77::11]:30410 => [fd44:2::11]:8080 masq
    fd77::11 -> tcp [fd77::11]:30410 => [fd44:2::11]:8080 masq
    fd79::11 -> tcp [fd77::11]:30410 => [fd44:2::11]:8080 masq
    10.244.1.11 -> tcp 192.168.77.11:30413 => 10.244.1.11:8080 masq
    fd44:1::11 -> tcp [fd77::11]:30413 => [fd44:1::11]:8080 masq
    # not on loopback, and not on another node's address
    127.0.0.1 -> tcp 127.0.0.1:30410 => untouched
    127.0.0.1 -> udp 127.0.0.1:30412 => untouched
    127.0.0.1 -> tcp 127.0.0.1:30411 => untouched
    ::1 -> tcp [::1]:30410 => untouched
    192.168.78.2 -> tcp 192.168.77.11:30411 => reject
    192.168.77.11 -> tcp 192.168.77.11:30411 => reject
    10.244.1.11 -> tcp 192.168.79.11:30411 => reject
    fd78::2 -> tcp [fd77::11]:30411 => reject
    fd77::11 -> tcp [fd77::11]:30411 => reject
    192.168.78.2 -> udp 192.168.77.11:30412 => 10.244.1.12:5353 masq
    192.168.77.11 -> udp 192.168.77.11:30412 => 10.244.1.12:5353 masq
    fd78::2 -> udp [fd77::11]:30412 => [fd44:1::12]:5353 masq
    # another protocol on that port is the node's own
    192.168.78.2 -> udp 192.168.77.11:30410 => untouched
    192.168.78.2 -> tcp 192.168.77.11:30412 => untouched
    # a Service of one family has node ports in that one
    192.168.78.2 -> tcp 192.168.77.11:30414 => 10.244.1.12:8080 masq
    fd78::2 -> tcp [fd77::11]:30414 => untouched
    # a node port is no port of the cluster IP
    10.244.1.11 -> tcp 10.96.4.10:30410 => reject
";

const SOME_ADDRESSES_ROWS: &str = "
    192.168.78.2 -> tcp 192.168.79.11:30410 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 192.168.79.11:30410 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.79.11:30411 => reject
    192.168.78.2 -> tcp 192.168.77.11:30410 => untouched
    192.168.78.2 -> tcp 192.168.77.11:30411 => untouched
    192.168.77.11 -> tcp 192.168.77.11:30410 => untouched
    127.0.0.1 -> tcp 127.0.0.1:30410 => untouched
    fd78::2 -> tcp [fd79::11]:30410 => [fd44:2::11]:8080 masq
    fd78::2 -> tcp [fd77::11]:30410 => untouched
    ::1 -> tcp [::1]:30410 => untouched
";

const ADDRESSES: &str = "
    svc open 10.96.5.10,fd96::5:10 80/tcp external-ip=198.51.100.60,198.51.100.61,2001:db8::60
    ep open 10.244.2.11:8080 node-2
    ep open [fd44:2::11]:8080 node-2
    svc none 10.96.5.11,fd96::5:11 80/tcp external-ip=198.51.100.62,2001:db8::62 lb=203.0.113.62,2001:db8:1::62
    svc vip 10.96.5.12,fd96::5:12 80/tcp node-port=30512 lb=203.0.113.63,2001:db8:1::63
    ep vip 10.244.1.12:8080 node-1
    ep vip 10.244.2.11:8080 node-2
    ep vip [fd44:1::12]:8080 node-1
    svc proxy 10.96.5.13,fd96::5:13 80/tcp node-port=30513 lb-proxy=203.0.113.64
    ep proxy 10.244.1.12:8080 node-1
    svc udp 10.96.5.14 53/udp external-ip=198.51.100.65 lb=203.0.113.65
    ep udp 10.244.1.12:5353 node-1
    # a node's own address as external IP, as bare-metal clusters have it
    svc node 10.96.5.15,fd96::5:15 88/tcp external-ip=192.168.77.11,fd77::11
    ep node 10.244.1.12:8080 node-1
    ep node [fd44:1::12]:8080 node-1
    # an address without a Service's port
    svc two 10.96.5.16 80/tcp,81/tcp external-ip=198.51.100.66
    ep two 10.244.1.12 node-1 ports=tcp-80:8080,tcp-81:9090
";

const ADDRESSES_ROWS: &str = "
    192.168.78.2 -> tcp 198.51.100.60:80 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 198.51.100.61:80 => 10.244.2.11:8080 masq
    10.244.1.11 -> tcp 198.51.100.60:80 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 198.51.100.60:80 => 10.244.2.11:8080 masq
    fd78::2 -> tcp [2001:db8::60]:80 => [fd44:2::11]:8080 masq
    fd44:1::11 -> tcp [2001:db8::60]:80 => [fd44:2::11]:8080 masq
    fd77::11 -> tcp [2001:db8::60]:80 => [fd44:2::11]:8080 masq
    192.168.78.2 -> tcp 198.51.100.62:80 => reject
    10.244.1.11 -> tcp 198.51.100.62:80 => reject
    192.168.77.11 -> tcp 198.51.100.62:80 => reject
    192.168.78.2 -> tcp 203.0.113.62:80 => reject
    10.244.1.11 -> tcp 203.0.113.62:80 => reject
    192.168.77.11 -> tcp 203.0.113.62:80 => reject
    fd78::2 -> tcp [2001:db8::62]:80 => reject
    fd44:1::11 -> tcp [2001:db8:1::62]:80 => reject
    fd77::11 -> tcp [2001:db8:1::62]:80 => reject
    192.168.78.2 -> tcp 203.0.113.63:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    10.244.1.11 -> tcp 203.0.113.63:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 203.0.113.63:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.77.11:30512 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    fd78::2 -> tcp [2001:db8:1::63]:80 => [fd44:1::12]:8080 masq
    fd44:1::11 -> tcp [2001:db8:1::63]:80 => [fd44:1::12]:8080 masq
    # the load balancer answers itself, for pods and nodes too
    192.168.78.2 -> tcp 203.0.113.64:80 => untouched
    10.244.1.11 -> tcp 203.0.113.64:80 => untouched
    192.168.77.11 -> tcp 203.0.113.64:80 => untouched
    192.168.78.2 -> tcp 192.168.77.11:30513 => 10.244.1.12:8080 masq
    192.168.78.2 -> udp 198.51.100.65:53 => 10.244.1.12:5353 masq
    10.244.1.11 -> udp 203.0.113.65:53 => 10.244.1.12:5353 masq
    192.168.78.2 -> tcp 192.168.77.11:88 => 10.244.1.12:8080 masq
    192.168.77.11 -> tcp 192.168.77.11:88 => 10.244.1.12:8080 masq
    192.168.78.2 -> tcp 192.168.79.11:88 => untouched
    fd78::2 -> tcp [fd77::11]:88 => [fd44:1::12]:8080 masq
    192.168.78.2 -> tcp 198.51.100.66:81 => 10.244.1.12:9090 masq
    # only a cluster IP refuses the ports that it does not have
    192.168.78.2 -> tcp 198.51.100.66:82 => untouched
    10.244.1.11 -> udp 198.51.100.66:80 => untouched
";
