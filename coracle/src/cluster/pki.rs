//! The lab's certificates: one CA a data directory, made on first start, and a leaf for
//! each identity, issued anew at each start so that none runs out. Keys are files of
//! mode 0600. Never logs a key and never leaves the data directory.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

const CA_NAME: &str = "coracle-lab-ca";
const CA_YEARS: i32 = 10;
const LEAF_YEARS: i32 = 2;
/// Object identifier of organizationName, for the second of two groups: the library
/// keeps one value for each named type.
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// One identity.
pub struct Identity {
    /// Base name of its files.
    pub file: String,
    /// User: the certificate's common name.
    pub user: String,
    /// Groups: the certificate's organizations, two at most.
    pub groups: Vec<String>,
    /// Host names and addresses it serves as; none for a client.
    pub serves: Vec<String>,
}

impl Identity {
    /// A client.
    pub fn client(file: &str, user: &str, groups: &[&str]) -> Self {
        Self {
            file: file.to_owned(),
            user: user.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            serves: Vec::new(),
        }
    }

    /// The same identity serving under `names` as well.
    pub fn serving(mut self, names: Vec<String>) -> Self {
        self.serves = names;
        self
    }
}

/// A certificate and its key, in files and as text.
#[derive(Clone)]
pub struct Credential {
    /// PEM file of the certificate.
    pub cert_file: PathBuf,
    /// PEM file of the key.
    pub key_file: PathBuf,
    /// The certificate as PEM.
    pub cert: String,
    /// The key as PEM.
    pub key: String,
}

/// The CA of one data directory.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The CA certificate as PEM.
    pub certificate: String,
    /// Its file.
    pub certificate_file: PathBuf,
}

impl Authority {
    /// Reads the CA below `directory`, or makes it.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let certificate_file = directory.join("ca.crt");
        let key_file = directory.join("ca.key");
        if !certificate_file.exists() {
            let key = KeyPair::generate()?;
            let certificate = ca_params()?.self_signed(&key)?;
            write_private(&key_file, &key.serialize_pem())?;
            write_public(&certificate_file, &certificate.pem())?;
        }
        let certificate = fs::read_to_string(&certificate_file)?;
        let key = fs::read_to_string(&key_file)
            .with_context(|| format!("read {}, the key of ca.crt beside it", key_file.display()))?;
        let key = KeyPair::from_pem(&key)
            .with_context(|| format!("{} is no PEM key", key_file.display()))?;
        // Subject and key are all that an issued certificate takes from the CA's own.
        let issuer = Issuer::new(ca_params()?, key);
        Ok(Self { directory: directory.to_owned(), issuer, certificate, certificate_file })
    }

    /// The same CA, its issued files in another directory.
    pub fn issuing_into(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Issues a certificate and writes it with its key.
    pub fn issue(&self, identity: &Identity) -> Result<Credential> {
        let key = KeyPair::generate()?;
        let cert = leaf_params(identity)?.signed_by(&key, &self.issuer)?;
        let credential = Credential {
            cert_file: self.directory.join(format!("{}.crt", identity.file)),
            key_file: self.directory.join(format!("{}.key", identity.file)),
            cert: cert.pem(),
            key: key.serialize_pem(),
        };
        write_private(&credential.key_file, &credential.key)?;
        write_public(&credential.cert_file, &credential.cert)?;
        Ok(credential)
    }
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, CA_NAME);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_validity(&mut params, CA_YEARS);
    Ok(params)
}

fn leaf_params(identity: &Identity) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
    anyhow::ensure!(
        identity.groups.len() <= kinds.len(),
        "{} has more than {} groups",
        identity.user,
        kinds.len()
    );
    for (kind, group) in kinds.into_iter().zip(&identity.groups) {
        name.push(kind, group.as_str());
    }
    name.push(DnType::CommonName, identity.user.as_str());
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !identity.serves.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    for name in &identity.serves {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    set_validity(&mut params, LEAF_YEARS);
    Ok(params)
}

/// Valid since yesterday, so that a clock that is a little behind does no harm.
fn set_validity(params: &mut CertificateParams, years: i32) {
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let day = yesterday.to_zoned(jiff::tz::TimeZone::UTC);
    let (year, month) = (i32::from(day.year()), day.month() as u8);
    params.not_before = date_time_ymd(year, month, day.day() as u8);
    // The 28th is a day of every month of every year.
    params.not_after = date_time_ymd(year + years, month, day.day().min(28) as u8);
}

fn write_public(path: &Path, text: &str) -> Result<()> {
    write_with_mode(path, text, 0o644)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    write_with_mode(path, text, 0o600)
}

fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    // A new file in the old one's place: the mode holds from its first byte on.
    let staged = path.with_extension("new");
    let _ = fs::remove_file(&staged);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&staged)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&staged, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_ca_stays_and_keys_are_private() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = Authority::open(dir.path()).expect("make");
        let again = Authority::open(dir.path()).expect("read");
        assert_eq!(first.certificate, again.certificate);
        let identity = Identity::client("dns", "dns", &["one", "two"])
            .serving(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let credential = again.issue(&identity).expect("issue");
        for file in [&credential.key_file, &dir.path().join("ca.key")] {
            let mode = fs::metadata(file).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }
}
