//! The pool in one sealed piece, to be rebuilt elsewhere: a tokens file, encrypted with
//! a passphrase (Argon2id, XChaCha20-Poly1305).

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{credential::Kind, pool::State};

/// Names the format and its version. Followed by the cost of Argon2 (memory in KiB,
/// passes and lanes, each a little-endian u32), the salt, the nonce and the ciphertext.
const MAGIC: &[u8; 8] = b"AGEXPRT1";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const COST_BYTES: usize = 12;
const HEADER_BYTES: usize = MAGIC.len() + COST_BYTES + SALT_BYTES + NONCE_BYTES;
/// What we spend: the first recommendation of OWASP for Argon2id.
const COST: Cost = Cost {
    memory_kib: 19 * 1024,
    passes: 2,
    lanes: 1,
};
/// What we are willing to spend on a file that says what it costs.
const MAX_COST: Cost = Cost {
    memory_kib: 256 * 1024,
    passes: 16,
    lanes: 4,
};

/// The shortest passphrase that is taken, in characters.
pub(crate) const MIN_PASSPHRASE: usize = 12;

#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a sealed export cannot be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("is not a sealed export of this program, or of a newer version")]
    Foreign,
    #[error("cannot be opened: the passphrase is another one, or the export is damaged")]
    Unopenable,
    #[error("cannot be sealed on this system")]
    Unsealable,
}

#[derive(Serialize)]
struct File<'a> {
    oauth_clients: Vec<Client<'a>>,
    projects: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Client<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_url: Option<&'a str>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    project_id: &'a str,
    upstream: &'a str,
    location: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    oauth_client: &'a str,
    display_name: &'a str,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// A JSON object of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_key: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
}

/// The projects that `wanted` names (or all) and their clients, as a tokens file.
pub(crate) fn tokens_file(
    state: &State,
    wanted: impl Fn(&str) -> bool,
) -> serde_json::Result<SecretString> {
    let projects: Vec<Entry<'_>> = state
        .projects
        .values()
        .filter(|member| wanted(&member.record.project.id))
        .map(|member| {
            let project = &member.record.project;
            let credential = &member.record.credential;
            let text = |kind| {
                let text = (credential.kind() == kind).then(|| credential.text())?;
                Some(text.expose_secret())
            };
            Ok(Entry {
                id: &project.id,
                project_id: &project.google_project_id,
                upstream: project.upstream.name(),
                location: &project.location,
                oauth_client: &project.oauth_client_id,
                display_name: &project.display_name,
                disabled: project.disabled,
                refresh_token: text(Kind::RefreshToken),
                service_account_key: text(Kind::ServiceAccountKey)
                    .map(serde_json::from_str)
                    .transpose()?,
                api_key: text(Kind::ApiKey),
            })
        })
        .collect::<serde_json::Result<_>>()?;
    let oauth_clients = state
        .clients
        .values()
        .map(|client| &client.record.credentials)
        .filter(|client| {
            projects
                .iter()
                .any(|project| project.oauth_client == client.client_id)
        })
        .map(|client| Client {
            client_id: &client.client_id,
            client_secret: client.client_secret.as_ref().map(|s| s.expose_secret()),
            token_url: client.token_url.as_deref(),
        })
        .collect();
    serde_json::to_string(&File {
        oauth_clients,
        projects,
    })
    .map(Into::into)
}

/// Seals a text. Takes its time: not for the thread of an async task.
pub(crate) fn seal(passphrase: &SecretString, text: &SecretString) -> Result<Vec<u8>, ExportError> {
    let mut random = [0; SALT_BYTES + NONCE_BYTES];
    getrandom::fill(&mut random).map_err(|_| ExportError::Unsealable)?;
    let mut sealed = MAGIC.to_vec();
    for number in [COST.memory_kib, COST.passes, COST.lanes] {
        sealed.extend(number.to_le_bytes());
    }
    sealed.extend(random);
    let (salt, nonce) = random.split_at(SALT_BYTES);
    let ciphertext = cipher(passphrase, salt, COST)
        .ok_or(ExportError::Unsealable)?
        .encrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: text.expose_secret().as_bytes(),
                aad: &sealed,
            },
        )
        .map_err(|_| ExportError::Unsealable)?;
    sealed.extend(ciphertext);
    Ok(sealed)
}

/// Whether it begins as what [`seal`] makes, of whatever version.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC[..MAGIC.len() - 1])
}

/// Opens what [`seal`] made. Takes its time as well.
pub(crate) fn open(passphrase: &SecretString, sealed: &[u8]) -> Result<SecretString, ExportError> {
    let (header, ciphertext) = sealed
        .split_at_checked(HEADER_BYTES)
        .ok_or(ExportError::Foreign)?;
    let rest = header.strip_prefix(MAGIC).ok_or(ExportError::Foreign)?;
    let (cost, rest) = rest.split_at(COST_BYTES);
    let (salt, nonce) = rest.split_at(SALT_BYTES);
    let mut numbers = cost
        .chunks_exact(4)
        .map(|bytes| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes));
    let mut number = || numbers.next().unwrap_or(u32::MAX);
    let cost = Cost {
        memory_kib: number(),
        passes: number(),
        lanes: number(),
    };
    if cost.memory_kib > MAX_COST.memory_kib
        || cost.passes > MAX_COST.passes
        || cost.lanes > MAX_COST.lanes
    {
        return Err(ExportError::Foreign);
    }
    let text = cipher(passphrase, salt, cost)
        .ok_or(ExportError::Foreign)?
        .decrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: ciphertext,
                aad: header,
            },
        )
        .map_err(|_| ExportError::Unopenable)?;
    let text = String::from_utf8(text).map_err(|_| ExportError::Unopenable)?;
    Ok(text.into())
}

fn cipher(passphrase: &SecretString, salt: &[u8], cost: Cost) -> Option<XChaCha20Poly1305> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let mut key = chacha20poly1305::Key::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut key)
        .ok()?;
    Some(XChaCha20Poly1305::new(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_passphrase_alone_and_whole_alone() {
        let passphrase: SecretString = "correct horse battery".into();
        let sealed = seal(&passphrase, &"1//planted".into()).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("planted"));
        let opened = open(&passphrase, &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "1//planted");
        let wrong = open(&"correct horse batterx".into(), &sealed).unwrap_err();
        assert_eq!(wrong, ExportError::Unopenable);
        let mut changed = sealed.clone();
        changed[HEADER_BYTES] ^= 1;
        assert_eq!(
            open(&passphrase, &changed).unwrap_err(),
            ExportError::Unopenable
        );
        for other in [&sealed[..10], b"{\"projects\": []}".as_slice(), &[0; 80]] {
            assert_eq!(open(&passphrase, other).unwrap_err(), ExportError::Foreign);
        }
        let mut expensive = sealed;
        expensive[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            open(&passphrase, &expensive).unwrap_err(),
            ExportError::Foreign
        );
    }
}
