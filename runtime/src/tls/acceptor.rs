//! The server's end: a certificate from files that are looked at again and again.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, pki_types::UnixTime, server::WebPkiClientVerifier, sign::SingleCertAndKey,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    connector::explain,
    identity::{Age, Identity, Validity, authorities, provider},
};
use crate::{
    config::{ConfigError, Environment, NamedFile, Var},
    hangups::Hangups,
};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);
/// Failed handshakes are told at most this often.
const TELL: Duration = Duration::from_secs(5);
/// How long a client is listened to whose handshake failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Where a server's certificate and key are, and whose client certificates it demands.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    certificate: NamedFile,
    key: NamedFile,
    client_authorities: Option<NamedFile>,
}

impl ServerFiles {
    /// Those that are set; `None`: neither certificate nor key is.
    ///
    /// # Errors
    /// One without the other.
    pub fn from_environment(
        environment: &Environment,
        certificate: &Var,
        key: &Var,
        client_authorities: Option<&Var>,
    ) -> Result<Option<Self>, ConfigError> {
        let authorities = match client_authorities {
            Some(var) => environment.file(var)?,
            None => None,
        };
        match (environment.file(certificate)?, environment.file(key)?) {
            (Some(certificate), Some(key)) => Ok(Some(Self {
                certificate,
                key,
                client_authorities: authorities,
            })),
            (None, None) => match (authorities, client_authorities) {
                (Some(_), Some(var)) => Err(environment.invalid(
                    var,
                    format!(
                        "asks for TLS; set {} and {} too",
                        certificate.name, key.name
                    ),
                )),
                _ => Ok(None),
            },
            (Some(_), None) => Err(environment.invalid(
                certificate,
                format!("is set without {}; set both, or neither", key.name),
            )),
            (None, Some(_)) => Err(environment.invalid(
                key,
                format!("is set without {}; set both, or neither", certificate.name),
            )),
        }
    }

    /// The certificate's file.
    #[must_use]
    pub fn certificate(&self) -> &NamedFile {
        &self.certificate
    }

    /// Whether clients have to show a certificate.
    #[must_use]
    pub fn demands_client_certificates(&self) -> bool {
        self.client_authorities.is_some()
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Whoever wants to: handshakes that fail are nobody's concern.
    Anybody,
    /// Our own programs: of handshakes that fail, one in a while is told.
    OurOwn,
}

/// Does the server's part of handshakes.
#[derive(Debug)]
pub struct Acceptor {
    files: ServerFiles,
    protocols: &'static [&'static [u8]],
    handshake_timeout: Duration,
    clients: Clients,
    current: RwLock<Current>,
    /// What was last found in the files, and whether it was refused then.
    found: Mutex<Found>,
    told: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    valid: Validity,
}

#[derive(Debug)]
struct Found {
    digest: [u8; 32],
    /// How often in a row it was found unusable.
    refused: u32,
    age: Age,
}

struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Acceptor {
    /// Reads the files; offers `protocols` (ALPN), the best first.
    ///
    /// # Errors
    /// Files that cannot be used, named by their variables.
    pub fn load(
        files: ServerFiles,
        protocols: &'static [&'static [u8]],
        handshake_timeout: Duration,
        clients: Clients,
    ) -> Result<Arc<Self>, ConfigError> {
        let contents = files.read()?;
        let current = files.current(&contents, protocols)?;
        let age = current.valid.age(UnixTime::now());
        current.valid.tell(age, &files.certificate);
        let found = Found {
            digest: contents.digest(),
            refused: 0,
            age,
        };
        Ok(Arc::new(Self {
            files,
            protocols,
            handshake_timeout,
            clients,
            current: RwLock::new(current),
            found: Mutex::new(found),
            told: Mutex::new(None),
        }))
    }

    fn current(&self) -> Current {
        // Nothing under the lock can panic.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Does the handshake with `from`; `None`: it failed, or was not done in time.
    pub async fn accept<I>(&self, io: I, from: Option<SocketAddr>) -> Option<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        self.shake_hands(io)
            .await
            .inspect_err(|why| self.tell_failure(from, why))
            .ok()
    }

    async fn shake_hands<I>(&self, io: I) -> Result<TlsStream<I>, String>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = TlsAcceptor::from(self.current().config).accept(io);
        match timeout(self.handshake_timeout, accepting.into_fallible()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((error, io))) => {
                // Closed with bytes unread, the connection would be reset, and with it the
                // alert that says why.
                let _ = timeout(LAST_WORDS, hang_up(io)).await;
                Err(explain(&error))
            }
            Err(_) => Err("it was not done in time".to_owned()),
        }
    }

    fn tell_failure(&self, from: Option<SocketAddr>, why: &str) {
        if self.clients == Clients::Anybody {
            tracing::debug!(?from, why, "a TLS handshake failed");
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL) {
            *told = Some(Instant::now());
            tracing::warn!(?from, why, "a TLS handshake failed");
        }
    }

    /// Looks at the files again and again, and at once on SIGHUP, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut hangups = Hangups::new();
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => false,
                () = hangups.next() => true,
            };
            let this = Arc::clone(&self);
            // Files may lie where reading takes its time.
            let looked = tokio::task::spawn_blocking(move || this.look(asked)).await;
            if looked.is_err() {
                tracing::error!("looking at the TLS files broke off");
            }
        }
    }

    /// Takes over what is in the files when that has changed and can be used.
    fn look(&self, asked: bool) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.files.read();
        let digest = contents.as_ref().map_or([0; 32], Contents::digest);
        if digest != found.digest {
            (found.digest, found.refused) = (digest, 0);
        } else if found.refused == 0 && !asked {
            self.tell_age(&mut found);
            return;
        }
        let current = contents.and_then(|new| self.files.current(&new, self.protocols));
        match current {
            Ok(new) => {
                let path = self.files.certificate.path.display();
                tracing::info!(%path, "the certificate was read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                (found.refused, found.age) = (0, Age::Good);
                self.tell_age(&mut found);
            }
            Err(error) => {
                found.refused += 1;
                // Two files are not replaced in one moment: the second look tells.
                if asked || found.refused == 2 {
                    tracing::error!(%error, "the new TLS files cannot be used; those of before go on");
                }
            }
        }
    }

    fn tell_age(&self, found: &mut Found) {
        let valid = self.current().valid;
        let age = valid.age(UnixTime::now());
        if std::mem::replace(&mut found.age, age) != age {
            valid.tell(age, &self.files.certificate);
        }
    }
}

impl ServerFiles {
    fn read(&self) -> Result<Contents, ConfigError> {
        Ok(Contents {
            certificate: self.certificate.read()?,
            key: self.key.read()?,
            client_authorities: match &self.client_authorities {
                Some(file) => Some(file.read()?),
                None => None,
            },
        })
    }

    fn current(&self, contents: &Contents, protocols: &[&[u8]]) -> Result<Current, ConfigError> {
        let identity = Identity::parse(
            &self.certificate,
            &contents.certificate,
            &self.key,
            &contents.key,
        )?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| self.certificate.invalid(&error.to_string()))?;
        let config = match (&self.client_authorities, &contents.client_authorities) {
            (Some(file), Some(pem)) => {
                let roots = Arc::new(authorities(file, pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| file.invalid(&format!("cannot be used: {error}")))?;
                config.with_client_cert_verifier(verifier)
            }
            _ => config.with_no_client_auth(),
        };
        let resolver = Arc::new(SingleCertAndKey::from(identity.key));
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Current {
            config: Arc::new(config),
            valid: identity.valid,
        })
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let authorities = self.client_authorities.as_deref().unwrap_or_default();
        for part in [&*self.certificate, &*self.key, authorities] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

async fn hang_up(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    io.shutdown().await?;
    let mut discarded = [0; 1024];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}
