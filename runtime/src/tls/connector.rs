//! The client's end: whom it trusts and what it shows of itself, read anew for each
//! connection, so that a renewed file heals without a restart.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::identity::{Identity, authorities, certificates, date, provider};
use crate::config::{ConfigError, Environment, NamedFile, Var};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a server's first word over HTTP/2 is waited for.
const VERDICT: Duration = Duration::from_secs(1);
const HTTP2: &[u8] = b"h2";

/// Where a client's authorities are, and its own certificate and key.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    authorities: Option<NamedFile>,
    identity: Option<(NamedFile, NamedFile)>,
}

impl ClientFiles {
    /// Those that are set.
    ///
    /// # Errors
    /// A certificate without its key, or a key without its certificate.
    pub fn from_environment(
        environment: &Environment,
        authorities: &Var,
        certificate: &Var,
        key: &Var,
    ) -> Result<Self, ConfigError> {
        let identity = match (environment.file(certificate)?, environment.file(key)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(environment.invalid(
                    certificate,
                    format!("is set without {}; set both, or neither", key.name),
                ));
            }
            (None, Some(_)) => {
                return Err(environment.invalid(
                    key,
                    format!("is set without {}; set both, or neither", certificate.name),
                ));
            }
        };
        Ok(Self {
            authorities: environment.file(authorities)?,
            identity,
        })
    }
}

/// Whom a client believes to be the server.
#[derive(Clone, Debug, Default)]
enum Trust {
    /// Who has a certificate for the name, of the authorities of the files or else of the
    /// system's.
    #[default]
    Authorities,
    /// Who has exactly this certificate, whatever its names: the server is this machine's own.
    Exactly(NamedFile),
    /// Whoever answers; for asking on this machine whether somebody does, and nothing else.
    Anybody,
}

/// Does the client's part of handshakes.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    files: ClientFiles,
    trust: Trust,
}

impl Connector {
    /// For servers that have a certificate for the name by which they are called.
    #[must_use]
    pub fn new(files: ClientFiles) -> Self {
        Self {
            files,
            trust: Trust::Authorities,
        }
    }

    /// The same for the server on this machine whose certificate is in `certificate`, by
    /// whatever address it is called.
    #[must_use]
    pub fn to_own(mut self, certificate: NamedFile) -> Self {
        self.trust = Trust::Exactly(certificate);
        self
    }

    /// The same for asking on this machine whether a server lives. Nothing secret may be sent.
    #[must_use]
    pub fn to_anybody(mut self) -> Self {
        self.trust = Trust::Anybody;
        self
    }

    /// Whether there is a certificate to show.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.files.identity.is_some()
    }

    /// Whether anything is set that only TLS has use for.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.files.authorities.is_some() || self.files.identity.is_some()
    }

    /// Reads the files, so that what is wrong with them is known at the start.
    ///
    /// # Errors
    /// Files that cannot be used, named by their variables.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.config(&[]).map(|_| ())
    }

    /// What handshakes are done with, as the files are now.
    ///
    /// # Errors
    /// Files that cannot be used, named by their variables.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<ClientConfig, ConfigError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::Missing {
                name: "TLS".to_owned(),
                remedy: error.to_string(),
            })?;
        let config = match &self.trust {
            Trust::Authorities => config.with_root_certificates(self.roots()?),
            Trust::Exactly(file) => {
                let own = certificates(file, &file.read()?)?.swap_remove(0);
                config
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(HoldsKey::of(Some(own))))
            }
            Trust::Anybody => config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(HoldsKey::of(None))),
        };
        let mut config = match &self.files.identity {
            Some((certificate, key)) => {
                let identity = Identity::read(certificate, key)?;
                let resolver: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(identity.key));
                config.with_client_cert_resolver(resolver)
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, ConfigError> {
        if let Some(file) = &self.files.authorities {
            return authorities(file, &file.read()?);
        }
        let mut roots = RootCertStore::empty();
        // Certificates of the system that cannot be used are left out, as everywhere.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(roots)
    }

    /// Does the handshake with the server `host`, in which `protocols` (ALPN) are offered.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn connect<I>(
        &self,
        host: &str,
        protocols: &[&[u8]],
        io: I,
    ) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config(protocols).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| io::Error::other(format!("{host:?} is no name for a certificate")))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, io);
        let whole = async {
            let mut stream = connecting.await?;
            if protocols.contains(&HTTP2) {
                // Whether the server takes our certificate it says only now, and HTTP/2 would
                // lose it. If it says yes it goes on with its settings, which are left to be
                // read; one that waits for the client to begin is not waited for.
                if let Ok(verdict) = timeout(VERDICT, stream.fill_buf()).await {
                    verdict?;
                }
            }
            Ok(stream)
        };
        match timeout(HANDSHAKE, whole).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(in_context(error)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the TLS handshake was not done in time",
            )),
        }
    }
}

/// Lets a server pass that holds the key of its certificate, and of no other than `only`.
#[derive(Debug)]
struct HoldsKey {
    only: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl HoldsKey {
    fn of(only: Option<CertificateDer<'static>>) -> Self {
        Self {
            only,
            provider: provider(),
        }
    }
}

impl ServerCertVerifier for HoldsKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.only {
            Some(only) if only != certificate => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// What TLS says about a connection that failed, when it was TLS that failed: a server that
/// refuses a client's certificate says so only after the client's handshake is done.
#[must_use]
pub fn connection_failure(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    tls_error(error).map(|error| in_words(&error))
}

/// Whether a connection failed because the server demands a client certificate.
#[must_use]
pub fn demands_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        tls_error(error),
        Some(Error::AlertReceived(AlertDescription::CertificateRequired))
    )
}

fn tls_error(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(tls.clone());
        }
        let wrapped = error.downcast_ref::<io::Error>();
        // h2 keeps no more of an error than its text.
        if wrapped.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            let text = error.to_string();
            let alerts = ALERTS.iter().map(|alert| Error::AlertReceived(*alert));
            let told = alerts.into_iter().find(|alert| alert.to_string() == text);
            if told.is_some() {
                return told;
            }
        }
        next = match wrapped.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The alerts that are about our certificate.
const ALERTS: &[AlertDescription] = &[
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::DecryptError,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

/// An error of TLS, in words.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_words(.0))]
struct Failed(#[source] Error);

fn in_context(error: io::Error) -> io::Error {
    match tls_error(&error) {
        Some(tls) => io::Error::new(error.kind(), Failed(tls)),
        None => io::Error::new(error.kind(), explain(&error)),
    }
}

/// What went wrong in a handshake.
pub(super) fn explain(error: &io::Error) -> String {
    connection_failure(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other side hung up in the TLS handshake".to_owned(),
        _ => error.to_string(),
    })
}

fn in_words(error: &Error) -> String {
    use CertificateError as Bad;
    match error {
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "the certificate is of no authority that is trusted here".to_owned()
        }
        Error::InvalidCertificate(Bad::ApplicationVerificationFailure) => {
            "the certificate is not the one of this machine's own server".to_owned()
        }
        Error::InvalidCertificate(Bad::ExpiredContext { not_after, .. }) => {
            format!("the certificate has expired on {}", date(*not_after))
        }
        Error::InvalidCertificate(Bad::NotValidYetContext { not_before, .. }) => {
            format!(
                "the certificate is valid only from {} on",
                date(*not_before)
            )
        }
        Error::InvalidCertificate(Bad::NotValidForNameContext {
            expected,
            presented,
        }) => format!(
            "the certificate is for {}, and not for {}",
            match presented.as_slice() {
                [] => "no name".to_owned(),
                names => names.join(", "),
            },
            expected.to_str(),
        ),
        Error::NoCertificatesPresented => "no client certificate was shown".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server demands a client certificate".to_owned()
        }
        Error::AlertReceived(alert) if ALERTS.contains(alert) => {
            format!("the other side refuses our certificate ({alert:?})")
        }
        Error::InvalidMessage(_) => "the other side does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}
