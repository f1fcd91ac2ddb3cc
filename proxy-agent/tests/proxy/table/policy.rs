//! Rows of traffic policies, as four observers see them (a client outside, the node, a
//! pod here, a pod elsewhere), of endpoints that end, and of topology hints.

use super::Group;

pub const GROUPS: &[Group] = &[
    Group::new("external policy Local", EXTERNAL, EXTERNAL_ROWS),
    Group::new("internal policy Local", INTERNAL, INTERNAL_ROWS),
    Group::new("the last that serve", TERMINATING, TERMINATING_ROWS),
    Group::new("hints, in zone a", HINTS, HINTS_ROWS),
    Group::new("hints, without a zone", NO_ZONE, NO_ZONE_ROWS),
];

const EXTERNAL: &str = "
    svc edge 10.96.6.10,fd96::6:10 80/tcp node-port=30610 external-ip=198.51.100.70,2001:db8::70 lb=203.0.113.70,2001:db8:1::70 external=Local health=31610
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
    ep edge [fd44:1::12]:8080 node-1
    ep edge [fd44:2::11]:8080 node-2
    svc far 10.96.6.11,fd96::6:11 80/tcp node-port=30611 external-ip=198.51.100.71,2001:db8::71 lb=203.0.113.71,2001:db8:1::71 external=Local
    ep far 10.244.2.11:8080 node-2
    ep far [fd44:2::11]:8080 node-2
    svc none 10.96.6.12,fd96::6:12 80/tcp node-port=30612 lb=203.0.113.72,2001:db8:1::72 external=Local
    svc udp 10.96.6.13,fd96::6:13 53/udp node-port=30613 external=Local
    ep udp 10.244.1.12:5353 node-1
    ep udp 10.244.2.11:5353 node-2
    ep udp [fd44:1::12]:5353 node-1
    svc here 10.96.6.14,fd96::6:14 80/tcp node-port=30614 external=Local
    ep here 10.244.1.12:8080 node-1
    ep here [fd44:1::12]:8080 node-1
";

const EXTERNAL_ROWS: &str = "
    # outside: endpoints of this node, who see the client
    192.168.78.2 -> tcp 192.168.77.11:30610 => 10.244.1.12:8080
    192.168.78.2 -> tcp 192.168.79.11:30610 => 10.244.1.12:8080
    192.168.78.2 -> tcp 198.51.100.70:80 => 10.244.1.12:8080
    192.168.78.2 -> tcp 203.0.113.70:80 => 10.244.1.12:8080
    fd78::2 -> tcp [fd77::11]:30610 => [fd44:1::12]:8080
    fd78::2 -> tcp [2001:db8::70]:80 => [fd44:1::12]:8080
    fd78::2 -> tcp [2001:db8:1::70]:80 => [fd44:1::12]:8080
    # another node is outside too
    192.168.77.12 -> tcp 192.168.77.11:30610 => 10.244.1.12:8080
    # the node: all endpoints
    192.168.77.11 -> tcp 192.168.77.11:30610 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 198.51.100.70:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 203.0.113.70:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    fd77::11 -> tcp [fd77::11]:30610 => [fd44:1::12]:8080 masq | [fd44:2::11]:8080 masq
    fd77::11 -> tcp [2001:db8:1::70]:80 => [fd44:1::12]:8080 masq | [fd44:2::11]:8080 masq
    # a pod here: all endpoints, as if it had gone out and come in again
    10.244.1.11 -> tcp 192.168.77.11:30610 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.11 -> tcp 198.51.100.70:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.11 -> tcp 203.0.113.70:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.12 -> tcp 203.0.113.70:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080
    fd44:1::11 -> tcp [fd77::11]:30610 => [fd44:1::12]:8080 | [fd44:2::11]:8080
    fd44:1::11 -> tcp [2001:db8:1::70]:80 => [fd44:1::12]:8080 | [fd44:2::11]:8080
    # a pod elsewhere, by this node's address; it may meet itself
    10.244.2.12 -> tcp 192.168.77.11:30614 => 10.244.1.12:8080
    10.244.2.11 -> tcp 192.168.77.11:30611 => 10.244.2.11:8080 masq
    fd44:2::12 -> tcp [fd77::11]:30614 => [fd44:1::12]:8080
    fd44:2::11 -> tcp [fd77::11]:30611 => [fd44:2::11]:8080 masq
    # nobody here
    192.168.78.2 -> tcp 192.168.77.11:30611 => drop
    192.168.78.2 -> tcp 198.51.100.71:80 => drop
    192.168.78.2 -> tcp 203.0.113.71:80 => drop
    fd78::2 -> tcp [fd77::11]:30611 => drop
    fd78::2 -> tcp [2001:db8:1::71]:80 => drop
    10.244.1.11 -> tcp 192.168.77.11:30611 => 10.244.2.11:8080
    10.244.1.11 -> tcp 203.0.113.71:80 => 10.244.2.11:8080
    192.168.77.11 -> tcp 192.168.77.11:30611 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 203.0.113.71:80 => 10.244.2.11:8080 masq
    fd44:1::11 -> tcp [2001:db8:1::71]:80 => [fd44:2::11]:8080
    fd77::11 -> tcp [2001:db8::71]:80 => [fd44:2::11]:8080 masq
    # nobody anywhere
    192.168.78.2 -> tcp 192.168.77.11:30612 => reject
    192.168.78.2 -> tcp 203.0.113.72:80 => reject
    10.244.1.11 -> tcp 203.0.113.72:80 => reject
    192.168.77.11 -> tcp 192.168.77.11:30612 => reject
    fd78::2 -> tcp [fd77::11]:30612 => reject
    fd44:1::11 -> tcp [2001:db8:1::72]:80 => reject
    # where health is asked for is the proxy's own port
    192.168.78.2 -> tcp 192.168.77.11:31610 => untouched
    192.168.77.11 -> tcp 192.168.77.11:31610 => untouched
    # the cluster IP is none of this policy's
    10.244.1.11 -> tcp 10.96.6.10:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    192.168.78.2 -> tcp 10.96.6.11:80 => 10.244.2.11:8080 masq
    192.168.78.2 -> udp 192.168.77.11:30613 => 10.244.1.12:5353
    10.244.1.11 -> udp 192.168.77.11:30613 => 10.244.1.12:5353 | 10.244.2.11:5353
    fd78::2 -> udp [fd77::11]:30613 => [fd44:1::12]:5353
";

const INTERNAL: &str = "
    svc near 10.96.7.10,fd96::7:10 80/tcp internal=Local node-port=30710
    ep near 10.244.1.12:8080 node-1
    ep near 10.244.2.11:8080 node-2
    ep near [fd44:1::12]:8080 node-1
    ep near [fd44:2::11]:8080 node-2
    svc elsewhere 10.96.7.11,fd96::7:11 80/tcp internal=Local node-port=30711
    ep elsewhere 10.244.2.11:8080 node-2
    ep elsewhere [fd44:2::11]:8080 node-2
    svc none 10.96.7.12,fd96::7:12 80/tcp internal=Local
    svc both 10.96.7.13,fd96::7:13 80/tcp internal=Local external=Local node-port=30713
    ep both 10.244.2.11:8080 node-2
    ep both [fd44:2::11]:8080 node-2
    svc udp 10.96.7.14,fd96::7:14 53/udp internal=Local
    ep udp 10.244.2.11:5353 node-2
    ep udp [fd44:2::11]:5353 node-2
";

const INTERNAL_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.7.10:80 => 10.244.1.12:8080
    10.244.1.12 -> tcp 10.96.7.10:80 => 10.244.1.12:8080 masq
    192.168.77.11 -> tcp 10.96.7.10:80 => 10.244.1.12:8080 masq
    192.168.78.2 -> tcp 10.96.7.10:80 => 10.244.1.12:8080 masq
    fd44:1::11 -> tcp [fd96::7:10]:80 => [fd44:1::12]:8080
    fd77::11 -> tcp [fd96::7:10]:80 => [fd44:1::12]:8080 masq
    # the node port is none of this policy's
    192.168.78.2 -> tcp 192.168.77.11:30710 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.77.11:30711 => 10.244.2.11:8080 masq
    fd78::2 -> tcp [fd77::11]:30711 => [fd44:2::11]:8080 masq
    # nobody here
    10.244.1.11 -> tcp 10.96.7.11:80 => drop
    192.168.77.11 -> tcp 10.96.7.11:80 => drop
    fd44:1::11 -> tcp [fd96::7:11]:80 => drop
    fd77::11 -> tcp [fd96::7:11]:80 => drop
    10.244.1.11 -> udp 10.96.7.14:53 => drop
    fd77::11 -> udp [fd96::7:14]:53 => drop
    # nobody anywhere
    10.244.1.11 -> tcp 10.96.7.12:80 => reject
    fd44:1::11 -> tcp [fd96::7:12]:80 => reject
    # both policies
    10.244.1.11 -> tcp 10.96.7.13:80 => drop
    192.168.78.2 -> tcp 192.168.77.11:30713 => drop
    10.244.1.11 -> tcp 192.168.77.11:30713 => 10.244.2.11:8080
    fd77::11 -> tcp [fd77::11]:30713 => [fd44:2::11]:8080 masq
";

const TERMINATING: &str = "
    # ready elsewhere, ending here
    svc ends 10.96.8.10,fd96::8:10 80/tcp node-port=30810 external=Local
    ep ends 10.244.1.12:8080 node-1 terminating
    ep ends 10.244.2.11:8080 node-2
    ep ends [fd44:1::12]:8080 node-1 terminating
    ep ends [fd44:2::11]:8080 node-2
    # ready here, ending elsewhere
    svc stays 10.96.8.11,fd96::8:11 80/tcp node-port=30811 external=Local
    ep stays 10.244.1.12:8080 node-1
    ep stays 10.244.2.11:8080 node-2 terminating
    ep stays [fd44:1::12]:8080 node-1
    ep stays [fd44:2::11]:8080 node-2 terminating
    # ending everywhere
    svc all 10.96.8.12,fd96::8:12 80/tcp node-port=30812 external=Local
    ep all 10.244.1.12:8080 node-1 terminating
    ep all 10.244.2.11:8080 node-2 terminating
    ep all [fd44:1::12]:8080 node-1 terminating
    # ended here, ready elsewhere
    svc ended 10.96.8.13 80/tcp node-port=30813 external=Local
    ep ended 10.244.1.12:8080 node-1 terminating not-ready
    ep ended 10.244.2.11:8080 node-2
    # the same for policy Local inside
    svc inside 10.96.8.14,fd96::8:14 80/tcp internal=Local node-port=30814
    ep inside 10.244.1.12:8080 node-1 terminating
    ep inside 10.244.2.11:8080 node-2
    ep inside [fd44:1::12]:8080 node-1 terminating
    ep inside [fd44:2::11]:8080 node-2
    # published although it ends
    svc published 10.96.8.15 80/tcp
    ep published 10.244.1.12:8080 node-1 published terminating
    ep published 10.244.2.11:8080 node-2 terminating
";

const TERMINATING_ROWS: &str = "
    192.168.78.2 -> tcp 192.168.77.11:30810 => 10.244.1.12:8080
    10.244.1.11 -> tcp 192.168.77.11:30810 => 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.8.10:80 => 10.244.2.11:8080
    fd78::2 -> tcp [fd77::11]:30810 => [fd44:1::12]:8080
    fd44:1::11 -> tcp [fd96::8:10]:80 => [fd44:2::11]:8080
    192.168.78.2 -> tcp 192.168.77.11:30811 => 10.244.1.12:8080
    10.244.1.11 -> tcp 10.96.8.11:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::8:11]:80 => [fd44:1::12]:8080
    192.168.78.2 -> tcp 192.168.77.11:30812 => 10.244.1.12:8080
    10.244.1.11 -> tcp 10.96.8.12:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    fd44:1::11 -> tcp [fd96::8:12]:80 => [fd44:1::12]:8080
    192.168.78.2 -> tcp 192.168.77.11:30813 => drop
    10.244.1.11 -> tcp 10.96.8.13:80 => 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.8.14:80 => 10.244.1.12:8080
    192.168.78.2 -> tcp 192.168.77.11:30814 => 10.244.2.11:8080 masq
    fd44:1::11 -> tcp [fd96::8:14]:80 => [fd44:1::12]:8080
    fd78::2 -> tcp [fd77::11]:30814 => [fd44:2::11]:8080 masq
    10.244.1.11 -> tcp 10.96.8.15:80 => 10.244.1.12:8080
";

const HINTS: &str = "
    node zone=a
    svc zoned 10.96.9.10,fd96::9:10 80/tcp node-port=30910
    ep zoned 10.244.1.12:8080 node-1 zone=a
    ep zoned 10.244.2.11:8080 node-2 zone=b
    ep zoned 10.244.2.12:8080 node-2 zone=c,a
    ep zoned [fd44:1::12]:8080 node-1 zone=a
    ep zoned [fd44:2::11]:8080 node-2 zone=b
    svc one-missing 10.96.9.11 80/tcp
    ep one-missing 10.244.1.12:8080 node-1 zone=a
    ep one-missing 10.244.2.11:8080 node-2
    svc none-here 10.96.9.12,fd96::9:12 80/tcp
    ep none-here 10.244.1.12:8080 node-1 zone=b
    ep none-here 10.244.2.11:8080 node-2 zone=c
    ep none-here [fd44:1::12]:8080 node-1 zone=b
    ep none-here [fd44:2::11]:8080 node-2 zone=c
    # what is not ready need not have a hint, and its hint is none
    svc missing-unready 10.96.9.13 80/tcp
    ep missing-unready 10.244.1.12:8080 node-1 zone=a
    ep missing-unready 10.244.2.11:8080 node-2 zone=b
    ep missing-unready 10.244.2.12:8080 node-2 not-ready
    svc here-unready 10.96.9.14 80/tcp
    ep here-unready 10.244.1.12:8080 node-1 zone=a terminating
    ep here-unready 10.244.2.11:8080 node-2 zone=b
    ep here-unready 10.244.2.12:8080 node-2 zone=c
    svc all-ending 10.96.9.15 80/tcp
    ep all-ending 10.244.1.12:8080 node-1 zone=a terminating
    ep all-ending 10.244.2.11:8080 node-2 zone=b terminating
    svc by-node 10.96.9.16,fd96::9:16 80/tcp
    ep by-node 10.244.1.12:8080 node-1 node=node-1 zone=a
    ep by-node 10.244.2.11:8080 node-2 node=node-2 zone=a
    ep by-node [fd44:1::12]:8080 node-1 node=node-1 zone=a
    ep by-node [fd44:2::11]:8080 node-2 node=node-2 zone=a
    # no endpoint of this node: its zone's
    svc node-elsewhere 10.96.9.17 80/tcp
    ep node-elsewhere 10.244.2.11:8080 node-2 node=node-2 zone=a
    ep node-elsewhere 10.244.2.12:8080 node-2 node=node-3 zone=b
    # one without a node hint: the zone's
    svc node-missing 10.96.9.18 80/tcp
    ep node-missing 10.244.1.12:8080 node-1 node=node-1 zone=b
    ep node-missing 10.244.2.11:8080 node-2 zone=a
    # policy Local knows no hints
    svc local 10.96.9.19,fd96::9:19 80/tcp node-port=30919 external=Local
    ep local 10.244.1.12:8080 node-1 zone=b
    ep local 10.244.2.11:8080 node-2 zone=a
    ep local [fd44:1::12]:8080 node-1 zone=b
    ep local [fd44:2::11]:8080 node-2 zone=a
    svc local-inside 10.96.9.20 80/tcp internal=Local
    ep local-inside 10.244.1.12:8080 node-1 zone=b
    ep local-inside 10.244.2.11:8080 node-2 zone=a
";

const HINTS_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.9.10:80 => 10.244.1.12:8080 | 10.244.2.12:8080
    192.168.78.2 -> tcp 192.168.77.11:30910 => 10.244.1.12:8080 masq | 10.244.2.12:8080 masq
    fd44:1::11 -> tcp [fd96::9:10]:80 => [fd44:1::12]:8080
    fd78::2 -> tcp [fd77::11]:30910 => [fd44:1::12]:8080 masq
    10.244.1.11 -> tcp 10.96.9.11:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.9.12:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    fd44:1::11 -> tcp [fd96::9:12]:80 => [fd44:1::12]:8080 | [fd44:2::11]:8080
    10.244.1.11 -> tcp 10.96.9.13:80 => 10.244.1.12:8080
    10.244.1.11 -> tcp 10.96.9.14:80 => 10.244.2.11:8080 | 10.244.2.12:8080
    10.244.1.11 -> tcp 10.96.9.15:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.9.16:80 => 10.244.1.12:8080
    fd44:1::11 -> tcp [fd96::9:16]:80 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.9.17:80 => 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.9.18:80 => 10.244.2.11:8080
    192.168.78.2 -> tcp 192.168.77.11:30919 => 10.244.1.12:8080
    10.244.1.11 -> tcp 192.168.77.11:30919 => 10.244.2.11:8080
    10.244.1.11 -> tcp 10.96.9.19:80 => 10.244.2.11:8080
    fd78::2 -> tcp [fd77::11]:30919 => [fd44:1::12]:8080
    10.244.1.11 -> tcp 10.96.9.20:80 => 10.244.1.12:8080
";

const NO_ZONE: &str = "
    node
    svc zoned 10.96.9.30,fd96::9:30 80/tcp
    ep zoned 10.244.1.12:8080 node-1 zone=a
    ep zoned 10.244.2.11:8080 node-2 zone=b
    ep zoned [fd44:1::12]:8080 node-1 zone=a
    ep zoned [fd44:2::11]:8080 node-2 zone=b
    svc by-node 10.96.9.31 80/tcp
    ep by-node 10.244.1.12:8080 node-1 node=node-1
    ep by-node 10.244.2.11:8080 node-2 node=node-2
";

const NO_ZONE_ROWS: &str = "
    10.244.1.11 -> tcp 10.96.9.30:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    fd44:1::11 -> tcp [fd96::9:30]:80 => [fd44:1::12]:8080 | [fd44:2::11]:8080
    10.244.1.11 -> tcp 10.96.9.31:80 => 10.244.1.12:8080
";
