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

use crate::authenticate::Identity;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// No certificate was shown.
    Unknown,
    /// The certificate is of the client CA.
    Known(Arc<Identity>),
    /// The certificate is of another CA, or has expired, or is not for clients.
    Wrong,
}

impl Peer {
    /// Judges the certificate of a connection, if it has one.
    pub fn of(connection: &ServerConnection, judge: Option<&Arc<dyn ClientCertVerifier>>) -> Self {
        let (Some(judge), Some([first, others @ ..])) = (judge, connection.peer_certificates())
        else {
            return Self::Unknown;
        };
        if let Err(error) = judge.verify_client_cert(first, others, UnixTime::now()) {
            debug!("a client's certificate is refused: {error}");
            return Self::Wrong;
        }
        match Identity::of_certificate(first) {
            Some(identity) => Self::Known(Arc::new(identity)),
            None => Self::Unknown,
        }
    }
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
