//! Client certificates: every client is asked for one, and what it shows is judged after the
//! handshake, so that a wrong one is answered with a 401 that says so and not with an alert.
//!
//! Never accepts a certificate whose key the client does not hold.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConnection, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use tracing::debug;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, Peer};

/// Judges the certificate of a connection, if it has one.
pub fn judged(connection: &ServerConnection, judge: Option<&Arc<dyn ClientCertVerifier>>) -> Peer {
    let (Some(judge), Some([first, others @ ..])) = (judge, connection.peer_certificates()) else {
        return Peer::Unknown;
    };
    if let Err(error) = judge.verify_client_cert(first, others, UnixTime::now()) {
        debug!("a client's certificate is refused: {error}");
        return Peer::Wrong;
    }
    match identity_of(first) {
        Some(identity) => Peer::Known(Arc::new(identity)),
        None => Peer::Unknown,
    }
}

/// The user that a verified client certificate stands for: CN, and O for the groups.
fn identity_of(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    if user.is_empty() {
        return None;
    }
    let groups =
        subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned));
    Some(Identity::new(user, groups))
}

/// Asks for a certificate and checks that the client holds its key; the rest is the judge's.
#[derive(Debug)]
pub struct AskOnly(pub Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
