//! API keys: who may ask.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::{api_keys::ApiKeys, error::Error};

/// The name of the key that the client showed, as `Authorization: Bearer …`.
///
/// # Errors
/// No key, or none of ours.
pub(super) fn key_name(headers: &HeaderMap, keys: &ApiKeys) -> Result<Arc<str>, Error> {
    let shown = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap_or_default())
        .and_then(bearer)
        .filter(|key| !key.is_empty())
        .ok_or(Error::MissingApiKey)?;
    keys.name_of(shown).cloned().ok_or(Error::WrongApiKey)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
