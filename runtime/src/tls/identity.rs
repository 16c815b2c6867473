//! A certificate with its key, as they lie in two files.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, Error, RootCertStore, client::verify_server_cert_signed_by_trust_anchor,
    crypto::CryptoProvider, pki_types::UnixTime, server::ParsedCertificate, sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::config::{ConfigError, NamedFile};

/// Who somebody is, and from when to when.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) valid: Validity,
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    from: UnixTime,
    until: UnixTime,
}

/// What is wrong, or soon will be, with the time of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    NotYet,
    Good,
    Ending,
    Over,
}

/// From when on it is told that a certificate ends.
const ENDING: Duration = Duration::from_secs(7 * 86_400);

impl Identity {
    /// Reads it, and holds the key against the certificate.
    ///
    /// # Errors
    /// A file that cannot be read or used, named by its variable.
    pub(super) fn read(certificate: &NamedFile, key: &NamedFile) -> Result<Self, ConfigError> {
        Self::parse(certificate, &certificate.read()?, key, &key.read()?)
    }

    /// As [`Identity::read`], of what was read.
    pub(super) fn parse(
        certificate: &NamedFile,
        certificate_pem: &[u8],
        key: &NamedFile,
        key_pem: &[u8],
    ) -> Result<Self, ConfigError> {
        let chain = certificates(certificate, certificate_pem)?;
        let secret = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|_| key.invalid("holds no private key in PEM form"))?;
        let signing = provider()
            .key_provider
            .load_private_key(secret)
            .map_err(|_| key.invalid("holds a private key of a kind that is not supported"))?;
        let valid = Validity::of(&chain[0])
            .map_err(|error| certificate.invalid(&format!("holds a bad certificate: {error}")))?;
        let pair = CertifiedKey::new(chain, signing);
        match pair.keys_match() {
            // Unknown: this kind of key does not tell its public half.
            Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Self {
                key: Arc::new(pair),
                valid,
            }),
            Err(_) => Err(key.invalid(&format!(
                "is not the key of the certificate in {} ({})",
                certificate.path.display(),
                certificate.name,
            ))),
        }
    }
}

/// The certificates of a file, at least one.
pub(super) fn certificates(
    file: &NamedFile,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err(file.invalid("holds no certificate in PEM form")),
    }
}

/// The authorities of a file.
pub(super) fn authorities(file: &NamedFile, pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        roots
            .add(certificate)
            .map_err(|error| file.invalid(&format!("holds a bad certificate: {error}")))?;
    }
    Ok(roots)
}

/// ring, whatever the process has installed.
pub(super) fn provider() -> Arc<CryptoProvider> {
    super::install_crypto_provider();
    CryptoProvider::get_default().map_or_else(
        || Arc::new(rustls::crypto::ring::default_provider()),
        Arc::clone,
    )
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        // Time is checked before everything else, and what it is held against is told.
        let held_against = |now: UnixTime| {
            let algorithms = provider().signature_verification_algorithms;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &RootCertStore::empty(),
                &[],
                now,
                algorithms.all,
            )
        };
        let long_ago = UnixTime::since_unix_epoch(Duration::ZERO);
        let in_ages = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
        let from = match held_against(long_ago) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => not_before,
            _ => long_ago,
        };
        let until = match held_against(in_ages) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => not_after,
            _ => in_ages,
        };
        Ok(Self { from, until })
    }

    pub(super) fn age(&self, now: UnixTime) -> Age {
        if now < self.from {
            Age::NotYet
        } else if now > self.until {
            Age::Over
        } else if now.as_secs() + ENDING.as_secs() > self.until.as_secs() {
            Age::Ending
        } else {
            Age::Good
        }
    }

    /// Tells the operator, unless all is well.
    pub(super) fn tell(&self, age: Age, file: &NamedFile) {
        let (name, path) = (file.name, file.path.display());
        let (from, until) = (date(self.from), date(self.until));
        match age {
            Age::Good => {}
            Age::NotYet => tracing::warn!(name, %path, from, "the certificate is not valid yet"),
            Age::Ending => tracing::warn!(name, %path, until, "the certificate ends soon"),
            Age::Over => {
                tracing::error!(name, %path, until, "the certificate has expired: clients refuse it");
            }
        }
    }
}

/// A time as people read it.
pub(super) fn date(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time out of reach".to_owned(), |at| at.to_string())
}
