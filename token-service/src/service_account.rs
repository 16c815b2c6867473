//! Keys of service accounts, as Google's JSON files hold them: read with all that can be
//! wrong in them, and the assertions (RFC 7523) that are signed with them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::limits;

/// What a key's file names when it is Google's.
pub(crate) const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// What an access token is asked for: all that the upstreams want.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Google refuses assertions from the future, and clocks are never quite alike.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(10);
/// The longest that Google takes, from the time of issue.
const LIFETIME: SignedDuration = SignedDuration::from_secs(3600);

/// A service account's key.
pub struct ServiceAccountKey {
    /// The file with what is needed of it, in one order: the same key is the same text.
    text: SecretString,
    client_email: String,
    private_key_id: String,
    project_id: String,
    token_uri: String,
    key_pair: KeyPair,
}

/// Why a text is no service-account key. Tells nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not JSON.
    #[error(
        "is not JSON (line {line}, column {column}: {problem}); give the whole file from Google"
    )]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the JSON parser says.
        problem: String,
    },
    /// It is JSON of another kind.
    #[error("is not a JSON object with the fields of a service-account key")]
    NotAnObject,
    /// gcloud's credentials of a person.
    #[error(
        "is a person's credential (authorized_user, from gcloud), not a service-account key; \
         `antigravity-gateway import FILE` takes it as it is"
    )]
    AuthorizedUser,
    /// An OAuth client.
    #[error(
        "is an OAuth client, not a service-account key; `antigravity-gateway oauth-clients put` \
         takes its client_id and client_secret"
    )]
    OAuthClient,
    /// Another of Google's kinds.
    #[error("has the type {found:?}; a key of the type service_account is wanted")]
    OtherType {
        /// The type, shortened.
        found: String,
    },
    /// A field is not there.
    #[error(
        "has no {field}; make a new key (Google Cloud console: IAM & Admin, Service Accounts, Keys)"
    )]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field holds something else.
    #[error("has a {field} that is none")]
    BadField {
        /// The field.
        field: &'static str,
    },
    /// The private key is no PEM.
    #[error("has a private_key that is not a whole PEM block (-----BEGIN PRIVATE KEY-----)")]
    NotPem,
    /// The private key is of another form.
    #[error(
        "has a private_key that is {found}; PKCS#8 (BEGIN PRIVATE KEY) is wanted, as Google makes it"
    )]
    OtherPem {
        /// What it is.
        found: &'static str,
    },
    /// The private key is of another algorithm, or damaged.
    #[error("has a private_key that is not an RSA key of 2048 to 4096 bits")]
    NotRsa,
    /// An assertion would be posted to somebody.
    #[error(
        "has a token_uri that is not Google's ({host}); an assertion posted there could be used by \
         others. Set OAUTH_TOKEN_URL if it is yours"
    )]
    ForeignTokenUri {
        /// Its host, shortened.
        host: String,
    },
}

/// The fields that are kept, in this order.
#[derive(Deserialize, Serialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    project_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    private_key_id: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    client_email: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    token_uri: String,
}

impl ServiceAccountKey {
    /// Reads a key as Google's file holds it.
    ///
    /// # Errors
    /// All that it lacks to sign with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| KeyError::NotJson {
                line: error.line(),
                column: error.column(),
                problem: problem(&error),
            })?;
        let object = value.as_object().ok_or(KeyError::NotAnObject)?;
        let kind = object.get("type").and_then(serde_json::Value::as_str);
        match kind {
            Some("service_account") => {}
            Some("authorized_user") => return Err(KeyError::AuthorizedUser),
            _ if object.contains_key("installed") || object.contains_key("web") => {
                return Err(KeyError::OAuthClient);
            }
            Some(other) => {
                return Err(KeyError::OtherType {
                    found: other.chars().filter(|c| !c.is_control()).take(40).collect(),
                });
            }
            None => return Err(KeyError::Missing { field: "type" }),
        }
        let fields = [
            "private_key",
            "client_email",
            "private_key_id",
            "project_id",
            "token_uri",
        ];
        for field in fields {
            match object.get(field) {
                None | Some(serde_json::Value::Null | serde_json::Value::String(_)) => {}
                Some(_) => return Err(KeyError::BadField { field }),
            }
        }
        let present = |field: &str| {
            let text = object.get(field).and_then(serde_json::Value::as_str);
            text.map(str::trim).unwrap_or_default().to_owned()
        };
        let file = File {
            kind: "service_account".to_owned(),
            project_id: present("project_id"),
            private_key_id: present("private_key_id"),
            private_key: present("private_key"),
            client_email: present("client_email"),
            token_uri: present("token_uri"),
        };
        Self::of(file)
    }

    fn of(file: File) -> Result<Self, KeyError> {
        if file.private_key.is_empty() {
            return Err(KeyError::Missing {
                field: "private_key",
            });
        }
        if file.client_email.is_empty() {
            return Err(KeyError::Missing {
                field: "client_email",
            });
        }
        let is_word = |text: &str| text.len() <= limits::CLIENT_ID && limits::is_token(text);
        if !is_word(&file.client_email) || !file.client_email.contains('@') {
            return Err(KeyError::BadField {
                field: "client_email",
            });
        }
        if !is_word(&file.private_key_id) {
            return Err(KeyError::BadField {
                field: "private_key_id",
            });
        }
        if !file.project_id.is_empty() && !limits::is_id(&file.project_id) {
            return Err(KeyError::BadField {
                field: "project_id",
            });
        }
        let token_uri = if file.token_uri.is_empty() {
            GOOGLE_TOKEN_URL.to_owned()
        } else {
            file.token_uri.clone()
        };
        if antigravity_runtime::config::base_url(&token_uri).is_err() {
            return Err(KeyError::BadField { field: "token_uri" });
        }
        let key_pair = key_pair(&file.private_key)?;
        let text = serde_json::to_string(&file).map_err(|_| KeyError::NotAnObject)?;
        if text.len() > limits::SECRET {
            return Err(KeyError::BadField {
                field: "private_key",
            });
        }
        Ok(Self {
            text: text.into(),
            client_email: file.client_email,
            private_key_id: file.private_key_id,
            project_id: file.project_id,
            token_uri,
            key_pair,
        })
    }

    pub(crate) fn text(&self) -> &SecretString {
        &self.text
    }

    pub(crate) fn client_email(&self) -> &str {
        &self.client_email
    }

    /// Empty when the file does not tell.
    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    pub(crate) fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// Whether an assertion may go where the key says: a doctored key must not make us
    /// post one to anybody. `configured` is what OAUTH_TOKEN_URL sets.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_token_uri(&self, configured: Option<&str>) -> Result<(), KeyError> {
        if configured.is_some_and(|url| url == self.token_uri.trim_end_matches('/')) {
            return Ok(());
        }
        let url = reqwest::Url::parse(&self.token_uri)
            .map_err(|_| KeyError::BadField { field: "token_uri" })?;
        let host = url.host_str().unwrap_or_default();
        let googles = host == "accounts.google.com" || host.ends_with(".googleapis.com");
        let plain = url.username().is_empty() && url.password().is_none();
        if url.scheme() == "https" && url.port().is_none() && plain && googles {
            return Ok(());
        }
        Err(KeyError::ForeignTokenUri {
            host: format!("{}://{host}", url.scheme())
                .chars()
                .take(80)
                .collect(),
        })
    }

    /// What proves at `token_uri` to be the account, for the next hour. `None`: the system
    /// has no randomness.
    pub(crate) fn assertion(&self, now: Timestamp) -> Option<SecretString> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'a str,
            typ: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            kid: &'a str,
        }
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'a str,
            aud: &'a str,
            iat: i64,
            exp: i64,
        }
        let issued = now.saturating_sub(CLOCK_SKEW).unwrap_or(now);
        let ends = issued.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let header = Header {
            alg: "RS256",
            typ: "JWT",
            kid: &self.private_key_id,
        };
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: &self.token_uri,
            iat: issued.as_second(),
            exp: ends.as_second(),
        };
        let part = |json: serde_json::Result<Vec<u8>>| Some(URL_SAFE_NO_PAD.encode(json.ok()?));
        let signed = format!(
            "{}.{}",
            part(serde_json::to_vec(&header))?,
            part(serde_json::to_vec(&claims))?
        );
        let mut signature = vec![0; self.key_pair.public().modulus_len()];
        self.key_pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey")
            .field("client_email", &self.client_email)
            .field("private_key_id", &self.private_key_id)
            .finish_non_exhaustive()
    }
}

fn key_pair(pem: &str) -> Result<KeyPair, KeyError> {
    // The file's line ends are escaped; some tools escape them once more.
    let pem = pem.replace("\\n", "\n");
    let found = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => {
            return KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::NotRsa);
        }
        Ok(PrivateKeyDer::Pkcs1(_)) => "PKCS#1 (BEGIN RSA PRIVATE KEY)",
        Ok(PrivateKeyDer::Sec1(_)) => "an elliptic-curve key (BEGIN EC PRIVATE KEY)",
        Ok(_) => "of another kind",
        Err(_) => return Err(KeyError::NotPem),
    };
    Err(KeyError::OtherPem { found })
}

/// What the parser says, without the place, and quoting nothing.
fn problem(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    told.strip_suffix(&place).unwrap_or(&told).to_owned()
}
