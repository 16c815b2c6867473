//! Certificate authorities made on the spot, and certificates of theirs in files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// A certificate for `names`, and its key; of `years`, the first and the one after the
    /// last.
    pub(crate) fn sign(&self, names: &[&str], years: (i32, i32)) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = date_time_ymd(years.0, 1, 1);
        parameters.not_after = date_time_ymd(years.1, 1, 1);
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Puts one for this machine into `folder`, as `name.pem` and `name.key`.
    pub(crate) fn put(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        put(folder, name, &self.sign(&["localhost", "127.0.0.1"], GOOD))
    }
}

pub(crate) const GOOD: (i32, i32) = (2020, 2120);
pub(crate) const EXPIRED: (i32, i32) = (2019, 2020);

pub(crate) fn put(folder: &Path, name: &str, pair: &(String, String)) -> (PathBuf, PathBuf) {
    let paths = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    std::fs::write(&paths.0, &pair.0).unwrap();
    std::fs::write(&paths.1, &pair.1).unwrap();
    paths
}
