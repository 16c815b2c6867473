//! The files that a PostgreSQL URL names: read once at the start, since a server that is not
//! reached for want of one would be waited for, as one that is away.

use std::{borrow::Cow, path::Path};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use url::Url;

use super::DatabaseError;

/// How each is written; libpq's first.
const ROOTS: [&str; 2] = ["sslrootcert", "ssl-root-cert"];
const CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const KEY: [&str; 2] = ["sslkey", "ssl-key"];

/// # Errors
/// A file that cannot be read, or does not hold what it is named for; a certificate without its
/// key, or the other way round.
pub(super) fn check(url: &Url) -> Result<(), DatabaseError> {
    if let Some(roots) = given(url, ROOTS) {
        roots.read(holds_certificates)?;
    }
    match (given(url, CERTIFICATE), given(url, KEY)) {
        (None, None) => Ok(()),
        (Some(certificate), Some(key)) => {
            certificate.read(holds_certificates)?;
            key.read(holds_key)
        }
        (Some(_), None) => Err(unpaired(CERTIFICATE, KEY)),
        (None, Some(_)) => Err(unpaired(KEY, CERTIFICATE)),
    }
}

fn unpaired(present: [&'static str; 2], missing: [&'static str; 2]) -> DatabaseError {
    DatabaseError::Unpaired {
        present: present[0],
        missing: missing[0],
    }
}

struct Given<'u> {
    name: Cow<'u, str>,
    value: Cow<'u, str>,
}

/// The last of that name holds.
fn given<'u>(url: &'u Url, names: [&str; 2]) -> Option<Given<'u>> {
    let pairs = url
        .query_pairs()
        .filter(|(name, _)| names.contains(&&**name));
    pairs.last().map(|(name, value)| Given { name, value })
}

impl Given<'_> {
    fn read(&self, holds: fn(&[u8]) -> Result<(), &'static str>) -> Result<(), DatabaseError> {
        // The text itself may stand in the URL.
        let is_inline = self.value.trim_start().starts_with("-----BEGIN");
        let (path, problem) = if is_inline {
            let held = holds(self.value.as_bytes());
            ("(in the URL itself)", held.err().map(str::to_owned))
        } else {
            let problem = match std::fs::read(&*self.value) {
                Ok(pem) => holds(&pem).err().map(str::to_owned),
                Err(error) => Some(format!("cannot be read: {error}")),
            };
            (&*self.value, problem)
        };
        match problem {
            None => Ok(()),
            Some(problem) => Err(DatabaseError::File {
                name: self.name.to_string(),
                path: Path::new(path).to_owned(),
                problem,
            }),
        }
    }
}

fn holds_certificates(pem: &[u8]) -> Result<(), &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        _ => Err("holds no certificate (PEM)"),
    }
}

fn holds_key(pem: &[u8]) -> Result<(), &'static str> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(_) => Ok(()),
        Err(_) => Err("holds no private key (PEM)"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use crate::config::Database;

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_parameter() {
        let folder = TempDir::new().unwrap();
        let file = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        let roots = file("roots.pem", &certificate);
        let key = file("key.pem", &key.serialize_pem());
        let empty = file("empty.pem", "");
        let missing = folder.path().join("missing.pem");
        let (roots, key) = (roots.display(), key.display());
        let (empty, missing) = (empty.display(), missing.display());
        for (parameters, parts) in [
            (format!("sslrootcert={roots}"), [""; 2]),
            (format!("sslcert={roots}&sslkey={key}"), [""; 2]),
            (
                format!("sslrootcert={missing}"),
                ["sslrootcert", "missing.pem"],
            ),
            (
                format!("sslrootcert={empty}"),
                ["sslrootcert", "holds no certificate"],
            ),
            (
                format!("sslcert={missing}&sslkey={key}"),
                ["sslcert", "missing.pem"],
            ),
            (
                format!("sslcert={roots}&sslkey={roots}"),
                ["sslkey", "holds no private key"],
            ),
            (format!("sslcert={roots}"), ["sslcert", "without sslkey"]),
            (format!("sslkey={key}"), ["sslkey", "without sslcert"]),
        ] {
            let url = format!("postgres://ann:planted@db,db2/tokens?{parameters}");
            match url.parse::<Database>() {
                Ok(_) => assert_eq!(parts, [""; 2], "{parameters}"),
                Err(error) => {
                    let error = error.to_string();
                    assert_ne!(parts, [""; 2], "{error}");
                    assert!(parts.iter().all(|it| error.contains(it)), "{error}");
                    assert!(!error.contains("planted"), "{error}");
                }
            }
        }
    }
}
