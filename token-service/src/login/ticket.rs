//! What the end of a login has to know, sealed for the way over its caller.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    project::Upstream,
    seal::{Cell, Keyring, SealError},
};

/// Far above what one is long.
const MAX_LENGTH: usize = 64 * 1024;
const CELL: Cell<'static> = Cell {
    table: "logins",
    column: "login",
    row: "",
};

/// A login that was begun.
pub(super) struct Ticket {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) state: SecretString,
    /// PKCE's.
    pub(super) verifier: SecretString,
    pub(super) upstream: Upstream,
    pub(super) expires_at: Timestamp,
    pub(super) id: Option<String>,
    pub(super) google_project_id: Option<String>,
    pub(super) location: Option<String>,
    pub(super) display_name: Option<String>,
}

/// As it is sealed.
#[derive(Deserialize, Serialize)]
struct Written {
    client_id: String,
    redirect_uri: String,
    state: String,
    verifier: String,
    upstream: String,
    expires_at: i64,
    id: Option<String>,
    google_project_id: Option<String>,
    location: Option<String>,
    display_name: Option<String>,
}

impl Ticket {
    pub(super) fn seal(&self, keys: &Keyring) -> Result<String, SealError> {
        let written = Written {
            client_id: self.client_id.clone(),
            redirect_uri: self.redirect_uri.clone(),
            state: self.state.expose_secret().to_owned(),
            verifier: self.verifier.expose_secret().to_owned(),
            upstream: self.upstream.name().to_owned(),
            expires_at: self.expires_at.as_millisecond(),
            id: self.id.clone(),
            google_project_id: self.google_project_id.clone(),
            location: self.location.clone(),
            display_name: self.display_name.clone(),
        };
        let text = serde_json::to_string(&written).map_err(|_| SealError::Damaged)?;
        Ok(URL_SAFE_NO_PAD.encode(keys.seal(CELL, &text)?))
    }

    /// `None` when it is none that these keys have sealed.
    pub(super) fn open(keys: &Keyring, login: &str) -> Option<Self> {
        let login = login.trim();
        if login.len() > MAX_LENGTH {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(login).ok()?;
        let text = keys.open(CELL, &sealed).ok()?;
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        Some(Self {
            client_id: written.client_id,
            redirect_uri: written.redirect_uri,
            state: written.state.into(),
            verifier: written.verifier.into(),
            upstream: written.upstream.parse().ok()?,
            expires_at: Timestamp::from_millisecond(written.expires_at).ok()?,
            id: written.id,
            google_project_id: written.google_project_id,
            location: written.location,
            display_name: written.display_name,
        })
    }
}
