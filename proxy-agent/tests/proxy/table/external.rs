//! Rows of what clients outside the cluster use: node ports, external IPs, load
//! balancers' addresses, and who may use those.

use super::Group;

pub const GROUPS: &[Group] = &[
    Group::new("node ports", NODE_PORTS, NODE_PORTS_ROWS),
    Group::new("external addresses", ADDRESSES, ADDRESSES_ROWS),
    Group::new("source ranges", RANGES, RANGES_ROWS),
    Group::new("node ports on some addresses", NODE_PORTS, SOME_ADDRESSES_ROWS).with(|settings| {
        let networks = ["192.168.79.0/24", "fd79::/16"];
        settings.node_port_addresses = super::networks(settings.family, &networks);
    }),
    // Last: what it has the kernel route stays so.
    Group::new("node ports on loopback", NODE_PORTS, LOOPBACK_ROWS)
        .with(|settings| {
            settings.localhost_node_ports = true;
            let networks = ["127.0.0.0/8", "192.168.77.0/24", "::1/128", "fd77::/16"];
            settings.node_port_addresses = super::networks(settings.family, &networks);
        })
        .not_in(&[(
            "ipvs",
            "IPVS has no virtual server for a network, and upstream leaves loopback out",
        )]),
];

/// Of what `NODE_PORTS` says.
const LOOPBACK_ROWS: &str = "
    127.0.0.1 -> tcp 127.0.0.1:30410 => 10.244.2.11:8080 masq
    127.0.0.1 -> tcp 127.0.0.5:30410 => 10.244.2.11:8080 masq
    127.0.0.1 -> udp 127.0.0.1:30412 => 10.244.1.12:5353 masq
    127.0.0.1 -> tcp 127.0.0.1:30411 => reject
    127.0.0.1 -> tcp 127.0.0.1:30415 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.77.11:30410 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.79.11:30410 => untouched
    127.0.0.1 -> tcp 127.0.0.1:8080 => untouched
    # what listens on loopback alone is nobody else's
    192.168.78.2 -> tcp 127.0.0.5:8080 => drop
    192.168.78.2 -> tcp 127.0.0.5:30410 => drop
    # the kernel does not route ::1
    ::1 -> tcp [::1]:30410 => untouched
    fd78::2 -> tcp [fd77::11]:30410 => [fd44:2::11]:8080 masq
";

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
    svc edge 10.96.4.15 80/tcp node-port=30415 external=Local
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
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
    192.168.78.2 -> tcp 198.51.100.66:82 => untouched; ipvs: reject # the node has the address
    10.244.1.11 -> udp 198.51.100.66:80 => untouched; ipvs: reject # the node has the address
";

const RANGES: &str = "
    node
    svc gated 10.96.10.10,fd96::a:10 80/tcp,81/tcp node-port=31010,31011 external-ip=198.51.100.90 lb=203.0.113.90,2001:db8:1::90 sources=192.168.78.0/24,10.244.1.11/32,fd78::/16,fd44:1::11/128
    ep gated 10.244.1.12 node-1 ports=tcp-80:8080,tcp-81:9090
    ep gated [fd44:1::12] node-1 ports=tcp-80:8080,tcp-81:9090
    # the same list in another order, and said twice
    svc same 10.96.10.11 80/tcp lb=203.0.113.91 sources=10.244.1.11/32,192.168.78.0/25,192.168.78.128/25,192.168.78.2/32
    ep same 10.244.1.12:8080 node-1
    svc nobody 10.96.10.12,fd96::a:12 80/tcp lb=203.0.113.92,2001:db8:1::92 sources=192.168.78.0/24,fd78::/16
    svc local 10.96.10.13 80/tcp lb=203.0.113.93 sources=192.168.78.0/24 external=Local
    ep local 10.244.2.11:8080 node-2
    svc wide 10.96.10.14,fd96::a:14 80/tcp lb=203.0.113.94,2001:db8:1::94 sources=0.0.0.0/0,::/0
    ep wide 10.244.1.12:8080 node-1
    ep wide [fd44:1::12]:8080 node-1
    # a load balancer whose address the node has got, and may use
    svc own 10.96.10.15,fd96::a:15 80/tcp lb=192.168.79.11,fd79::11 sources=192.168.77.0/24,fd77::/16
    ep own 10.244.1.12:8080 node-1
    ep own [fd44:1::12]:8080 node-1
    svc not-own 10.96.10.16 82/tcp lb=192.168.79.11 sources=192.168.78.0/24
    ep not-own 10.244.1.12:8080 node-1
    # ranges of the other family alone let nobody in
    svc other-family 10.96.10.17,fd96::a:17 80/tcp lb=203.0.113.97,2001:db8:1::97 sources=192.168.78.0/24
    ep other-family 10.244.1.12:8080 node-1
    ep other-family [fd44:1::12]:8080 node-1
    svc udp 10.96.10.18 53/udp lb=203.0.113.98 sources=192.168.78.0/24
    ep udp 10.244.1.12:5353 node-1
    svc proxied 10.96.10.19 80/tcp lb-proxy=203.0.113.99 sources=192.168.77.0/24
    ep proxied 10.244.1.12:8080 node-1
";

const RANGES_ROWS: &str = "
    192.168.78.2 -> tcp 203.0.113.90:80 => 10.244.1.12:8080 masq
    192.168.78.2 -> tcp 203.0.113.90:81 => 10.244.1.12:9090 masq
    10.244.1.11 -> tcp 203.0.113.90:80 => 10.244.1.12:8080 masq
    10.244.1.12 -> tcp 203.0.113.90:80 => drop
    10.244.1.12 -> tcp 203.0.113.90:81 => drop
    10.244.2.11 -> tcp 203.0.113.90:80 => drop
    192.168.77.11 -> tcp 203.0.113.90:80 => drop
    192.168.77.12 -> tcp 203.0.113.90:80 => drop
    fd78::2 -> tcp [2001:db8:1::90]:80 => [fd44:1::12]:8080 masq
    fd44:1::11 -> tcp [2001:db8:1::90]:80 => [fd44:1::12]:8080 masq
    fd44:1::12 -> tcp [2001:db8:1::90]:80 => drop
    fd77::11 -> tcp [2001:db8:1::90]:80 => drop
    # nothing else of the Service is guarded
    10.244.1.12 -> tcp 10.96.10.10:80 => 10.244.1.12:8080 masq
    192.168.77.12 -> tcp 192.168.77.11:31010 => 10.244.1.12:8080 masq
    192.168.77.12 -> tcp 198.51.100.90:80 => 10.244.1.12:8080 masq
    fd77::12 -> tcp [fd77::11]:31010 => [fd44:1::12]:8080 masq
    192.168.78.2 -> tcp 203.0.113.91:80 => 10.244.1.12:8080 masq
    10.244.1.12 -> tcp 203.0.113.91:80 => drop
    # dropped before refused
    192.168.78.2 -> tcp 203.0.113.92:80 => reject
    10.244.1.11 -> tcp 203.0.113.92:80 => drop
    192.168.77.11 -> tcp 203.0.113.92:80 => drop
    fd78::2 -> tcp [2001:db8:1::92]:80 => reject
    fd44:1::11 -> tcp [2001:db8:1::92]:80 => drop
    # allowed, but nobody here; inside the cluster, but not allowed
    192.168.78.2 -> tcp 203.0.113.93:80 => drop
    10.244.1.11 -> tcp 203.0.113.93:80 => drop
    10.244.1.11 -> tcp 203.0.113.94:80 => 10.244.1.12:8080 masq
    fd77::11 -> tcp [2001:db8:1::94]:80 => [fd44:1::12]:8080 masq
    192.168.77.11 -> tcp 192.168.79.11:80 => 10.244.1.12:8080 masq
    192.168.79.11 -> tcp 192.168.79.11:80 => 10.244.1.12:8080 masq
    192.168.78.2 -> tcp 192.168.79.11:80 => drop
    fd79::11 -> tcp [fd79::11]:80 => [fd44:1::12]:8080 masq
    192.168.79.11 -> tcp 192.168.79.11:82 => drop
    192.168.78.2 -> tcp 203.0.113.97:80 => 10.244.1.12:8080 masq
    fd78::2 -> tcp [2001:db8:1::97]:80 => drop
    192.168.78.2 -> udp 203.0.113.98:53 => 10.244.1.12:5353 masq
    10.244.1.11 -> udp 203.0.113.98:53 => drop
    192.168.77.11 -> udp 203.0.113.98:53 => drop
    192.168.78.2 -> tcp 203.0.113.99:80 => untouched
";
