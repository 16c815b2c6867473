//! The sealed values of a database, wherever they stand, and how each is sealed anew.

use secrecy::ExposeSecret as _;

use super::StoreError;
use crate::seal::{Cell, Keyring, SealError};

/// A value that only the right keys open.
pub(super) const KEY_CHECK: Cell<'static> = Cell {
    table: "meta",
    column: "value",
    row: "key_check",
};

/// A column of sealed values. A test holds the list against the schema.
pub(super) struct Column {
    /// As values are bound to it.
    pub(super) table: &'static str,
    pub(super) name: &'static str,
    /// Row and value, and the name that the value is bound to.
    pub(super) select: &'static str,
    pub(super) update: &'static str,
}

/// A sealed value: its row, itself, and what it is: its column, or the kind of credential that
/// the column holds.
pub(super) type Sealed = (String, Vec<u8>, String);

pub(super) const COLUMNS: [Column; 4] = [
    Column {
        table: KEY_CHECK.table,
        name: KEY_CHECK.column,
        select: "SELECT key, value, 'value' FROM meta WHERE key = 'key_check'",
        update: "UPDATE meta SET value = $1 WHERE key = $2",
    },
    Column {
        table: "oauth_clients",
        name: "client_secret",
        select: "SELECT client_id, client_secret_sealed, 'client_secret' FROM oauth_clients
                 WHERE client_secret_sealed IS NOT NULL",
        update: "UPDATE oauth_clients SET client_secret_sealed = $1 WHERE client_id = $2",
    },
    Column {
        table: "projects",
        name: "refresh_token",
        select: "SELECT id, refresh_token_sealed, credential_kind FROM projects
                 WHERE refresh_token_sealed IS NOT NULL",
        update: "UPDATE projects SET refresh_token_sealed = $1 WHERE id = $2",
    },
    Column {
        table: "projects",
        name: "access_token",
        select: "SELECT id, access_token_sealed, 'access_token' FROM projects
                 WHERE access_token_sealed IS NOT NULL",
        update: "UPDATE projects SET access_token_sealed = $1 WHERE id = $2",
    },
];

/// What a database keeps when its key is lost, and what it does not, after each sealed value was
/// replaced with nothing.
pub(super) const FORGET: [&str; 4] = [
    "UPDATE oauth_clients SET client_secret_sealed = NULL",
    "UPDATE projects SET access_token_sealed = NULL, access_token_expires_at = NULL,
         access_token_lifetime = NULL, refreshed_at = NULL, status = 'needs_login',
         status_reason = 'the encryption key was lost', action_url = ''",
    // What was imported before is no longer here, so that the same file may bring it again.
    "DELETE FROM imports",
    "DELETE FROM client_imports",
];
/// Before that: nothing is no service-account key, and is a refresh token that is worth nothing.
pub(super) const FORGET_KINDS: &str = "UPDATE projects SET credential_kind = 'refresh_token'
     WHERE credential_kind = 'service_account_key'";

impl Column {
    pub(super) fn cell<'a>(&self, sealed: &'a Sealed) -> Cell<'a> {
        Cell {
            table: self.table,
            column: &sealed.2,
            row: &sealed.0,
        }
    }

    /// The value sealed with the first key. `None`: it is.
    pub(super) fn anew(
        &self,
        sealed: &Sealed,
        keys: &Keyring,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let cell = self.cell(sealed);
        let opened = keys.open(cell, &sealed.1);
        let anew = opened.and_then(|secret| {
            if Keyring::id_of(&sealed.1) == Some(keys.sealing_key_id()) {
                Ok(None)
            } else {
                keys.seal(cell, secret.expose_secret()).map(Some)
            }
        });
        anew.map_err(|source| self.unusable(&sealed.0, source))
    }

    /// Nothing, sealed in the place of the value.
    pub(super) fn nothing(&self, sealed: &Sealed, keys: &Keyring) -> Result<Vec<u8>, StoreError> {
        let nothing = keys.seal(self.cell(sealed), "");
        nothing.map_err(|source| self.unusable(&sealed.0, source))
    }

    fn unusable(&self, row: &str, source: SealError) -> StoreError {
        StoreError::Value {
            table: self.table,
            column: self.name,
            row: row.to_owned(),
            source,
        }
    }
}
