//! Kubeconfig files with everything embedded.

use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::pki::{Authority, Credential, write_private};

/// Writes a kubeconfig for `user` at `path`, mode 0600.
pub fn write(
    path: &Path,
    server: &str,
    user: &str,
    authority: &Authority,
    credential: &Credential,
) -> Result<()> {
    let encode = |pem: &str| STANDARD.encode(pem);
    let text = format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: coracle\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {}\n\
         \x20   client-key-data: {}\n\
         contexts:\n\
         - name: coracle\n\
         \x20 context:\n\
         \x20   cluster: coracle\n\
         \x20   user: {user}\n\
         current-context: coracle\n",
        encode(&authority.certificate),
        encode(&credential.cert),
        encode(&credential.key),
    );
    write_private(path, &text)
}
