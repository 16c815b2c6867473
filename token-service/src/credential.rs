//! What a project logs in with: the kinds of credential, and which upstreams take them.

use std::{fmt, str::FromStr, sync::Arc};

use antigravity_runtime::secret::hex_digest;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    oauth::Credentials,
    project::Upstream,
    service_account::{KeyError, ServiceAccountKey},
};

/// A kind of [`Credential`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An OAuth refresh token of a person.
    RefreshToken,
    /// The key of a service account.
    ServiceAccountKey,
    /// A key of the Gemini API.
    ApiKey,
}

impl Kind {
    const ALL: [Self; 3] = [Self::RefreshToken, Self::ServiceAccountKey, Self::ApiKey];

    /// As the database and tokens files name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::ServiceAccountKey => "service_account_key",
            Self::ApiKey => "api_key",
        }
    }

    /// For people, after an article.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh token",
            Self::ServiceAccountKey => "service-account key",
            Self::ApiKey => "API key",
        }
    }

    /// Whether an upstream can be asked with it.
    pub(crate) fn serves(self, upstream: Upstream) -> bool {
        match self {
            Self::RefreshToken => true,
            Self::ServiceAccountKey => upstream != Upstream::Antigravity,
            Self::ApiKey => upstream == Upstream::Gemini,
        }
    }

    /// The upstream of a project that states none.
    pub(crate) fn upstream_or(self, default: Upstream) -> Upstream {
        match self {
            kind if kind.serves(default) => default,
            Self::ApiKey => Upstream::Gemini,
            Self::RefreshToken | Self::ServiceAccountKey => Upstream::Vertex,
        }
    }

    /// What an upstream that it does not serve is told.
    pub(crate) fn refuses(self, upstream: Upstream) -> String {
        let serves = match self {
            Self::RefreshToken => "antigravity, gemini and vertex",
            Self::ServiceAccountKey => "vertex and gemini",
            Self::ApiKey => "gemini alone",
        };
        format!(
            "is {upstream}, which takes no {}; that is for {serves}",
            self.words()
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is none of refresh_token, service_account_key, api_key")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

/// What a project logs in with. Secret.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An OAuth refresh token, good with the client that minted it.
    RefreshToken(SecretString),
    /// The key of a service account.
    ServiceAccountKey(Arc<ServiceAccountKey>),
    /// A key of the Gemini API: sent as it is, and good until Google refuses it.
    ApiKey(SecretString),
}

impl Credential {
    /// Of the text that [`Credential::text`] gives.
    pub(crate) fn of(kind: Kind, text: SecretString) -> Result<Self, KeyError> {
        Ok(match kind {
            Kind::RefreshToken => Self::RefreshToken(text),
            Kind::ServiceAccountKey => {
                let key = ServiceAccountKey::parse(text.expose_secret())?;
                Self::ServiceAccountKey(Arc::new(key))
            }
            Kind::ApiKey => Self::ApiKey(text),
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::RefreshToken(_) => Kind::RefreshToken,
            Self::ServiceAccountKey(_) => Kind::ServiceAccountKey,
            Self::ApiKey(_) => Kind::ApiKey,
        }
    }

    /// All of it, as it is stored.
    pub(crate) fn text(&self) -> &SecretString {
        match self {
            Self::RefreshToken(text) | Self::ApiKey(text) => text,
            Self::ServiceAccountKey(key) => key.text(),
        }
    }

    /// Whom it belongs to, where that is known.
    pub(crate) fn account(&self) -> &str {
        match self {
            Self::ServiceAccountKey(key) => key.client_email(),
            Self::RefreshToken(_) | Self::ApiKey(_) => "",
        }
    }

    /// The Google project of a project that states none. Empty: it is not known.
    pub(crate) fn google_project_id(&self) -> &str {
        match self {
            Self::ServiceAccountKey(key) => key.project_id(),
            Self::RefreshToken(_) | Self::ApiKey(_) => "",
        }
    }

    /// The id of a project that states neither an id nor a Google project.
    pub(crate) fn default_id(&self) -> String {
        match self {
            Self::ApiKey(key) => {
                format!("gemini-api-key-{}", hex_digest(key.expose_secret(), 4))
            }
            Self::RefreshToken(_) | Self::ServiceAccountKey(_) => String::new(),
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.text().expose_secret() == other.text().expose_secret()
    }
}

/// What an access token is asked for with.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    RefreshToken {
        client: Credentials,
        refresh_token: SecretString,
    },
    ServiceAccount(Arc<ServiceAccountKey>),
}

impl Proof {
    /// The OAuth client that Google would refuse; empty without one.
    pub(crate) fn client_id(&self) -> &str {
        match self {
            Self::RefreshToken { client, .. } => &client.client_id,
            Self::ServiceAccount(_) => "",
        }
    }
}
