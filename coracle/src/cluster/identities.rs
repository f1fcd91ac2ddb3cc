//! Who the members of a cluster are to the API: upstream's users and groups.

use super::pki::Identity;

/// The admin, who may do all.
pub fn admin() -> Identity {
    Identity::client("admin", "kubernetes-admin", &["system:masters"])
}

/// Both controller programs.
pub fn controllers() -> Identity {
    Identity::client("controllers", "system:kube-controller-manager", &[])
}

/// The node proxies.
pub fn proxy() -> Identity {
    Identity::client("kube-proxy", "system:kube-proxy", &[])
}

/// The cluster's DNS.
pub fn dns() -> Identity {
    Identity::client(
        "cluster-dns",
        "system:serviceaccount:kube-system:coredns",
        &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
    )
}

/// A node agent, which serves under `names` too. `file`: base name of its files.
pub fn node(file: &str, name: &str, names: Vec<String>) -> Identity {
    Identity::client(file, &format!("system:node:{name}"), &["system:nodes"]).serving(names)
}

/// An API server as a server.
pub fn api_server(names: Vec<String>) -> Identity {
    Identity::client("apiserver", "kube-apiserver", &[]).serving(names)
}

/// An API server as the client of node agents.
pub fn api_server_to_nodes() -> Identity {
    Identity::client(
        "apiserver-kubelet-client",
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    )
}
