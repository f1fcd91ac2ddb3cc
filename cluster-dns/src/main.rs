//! Cluster DNS as a program of its own.

fn main() -> std::process::ExitCode {
    client::program::main(cluster_dns::run)
}
