//! Secrets at rest: sealed with XChaCha20-Poly1305, bound to the row and the column
//! that they stand in, so that a value moved elsewhere does not open.

use std::{fmt, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::{Digest as _, Sha256};

/// The layout of a sealed value: this byte, the key's id, the nonce, the ciphertext.
const VERSION: u8 = 1;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + ID_BYTES + NONCE_BYTES;

/// The keys of `ENCRYPTION_KEY`: the first seals, all open.
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: [u8; ID_BYTES],
    bytes: Arc<SecretBox<[u8; 32]>>,
}

/// Where a value stands. Part of what is authenticated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
    pub(crate) row: &'a str,
}

/// Why a text is not a list of keys. Tells nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key in it.
    #[error("holds no key; it wants 32 bytes in base64 (`openssl rand -base64 32`)")]
    Empty,
    /// One of the keys is not base64 of 32 bytes.
    #[error("key {number} is not 32 bytes in base64 (`openssl rand -base64 32`)")]
    Malformed {
        /// Which of the comma-separated keys, from 1.
        number: usize,
    },
}

/// Why a sealed value cannot be opened or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// None of the keys is the one that sealed it.
    #[error("it is sealed with the key {key_id}, which is not among the encryption keys")]
    UnknownKey {
        /// The key's id: the first 8 hex digits of its SHA-256.
        key_id: String,
    },
    /// It was changed, cut off or moved from another row.
    #[error("the sealed value is damaged")]
    Damaged,
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

impl Keyring {
    /// Reads a comma-separated list of keys, each 32 bytes in base64 (with or without
    /// padding, either alphabet).
    ///
    /// # Errors
    /// An empty list, and anything else in it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = text
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .enumerate()
            .map(|(index, key)| Key::parse(key).ok_or(KeyError::Malformed { number: index + 1 }))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        Ok(Self {
            first: keys.next().ok_or(KeyError::Empty)?,
            others: keys.collect(),
        })
    }

    /// The id of the key that seals: the first 8 hex digits of its SHA-256.
    #[must_use]
    pub fn sealing_key_id(&self) -> String {
        hex(self.first.id)
    }

    /// The ids of all keys, the one that seals first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        self.all().map(|key| hex(key.id))
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// With a new key that seals; the others go on opening.
    pub(crate) fn with_a_new_key(&self) -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(Self {
            first: Key::of(bytes),
            others: self.all().cloned().collect(),
        })
    }

    /// The key that seals, and those that only open.
    pub(crate) fn split(&self) -> (Self, Option<Self>) {
        let first = Self {
            first: self.first.clone(),
            others: Vec::new(),
        };
        let mut others = self.others.iter().cloned();
        let retired = others.next().map(|first| Self {
            first,
            others: others.collect(),
        });
        (first, retired)
    }

    /// With the keys of another, which only open.
    pub(crate) fn and(&self, more: &Self) -> Self {
        let mut others = self.others.clone();
        let known = |key: &Key| self.all().any(|own| own.id == key.id);
        others.extend(more.all().filter(|key| !known(key)).cloned());
        Self {
            first: self.first.clone(),
            others,
        }
    }

    /// What [`Keyring::parse`] reads.
    pub(crate) fn to_text(&self) -> SecretString {
        let keys = self
            .all()
            .map(|key| STANDARD.encode(key.bytes.expose_secret()));
        keys.collect::<Vec<_>>().join(",").into()
    }

    /// The id of the key that a value was sealed with; `None` when it is damaged.
    pub(crate) fn id_of(sealed: &[u8]) -> Option<String> {
        (sealed.first() == Some(&VERSION))
            .then(|| sealed.get(1..=ID_BYTES))
            .flatten()
            .map(hex)
    }

    pub(crate) fn seal(&self, cell: Cell<'_>, secret: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let ciphertext = self
            .first
            .cipher()
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: secret.as_bytes(),
                    aad: &cell.associated_data(),
                },
            )
            .map_err(|_| SealError::Damaged)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend(self.first.id);
        sealed.extend(nonce);
        sealed.extend(ciphertext);
        Ok(sealed)
    }

    pub(crate) fn open(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<SecretString, SealError> {
        let (header, ciphertext) = sealed
            .split_at_checked(HEADER_BYTES)
            .ok_or(SealError::Damaged)?;
        if header[0] != VERSION {
            return Err(SealError::Damaged);
        }
        let (id, nonce) = header[1..].split_at(ID_BYTES);
        let key = self
            .all()
            .find(|key| key.id == id)
            .ok_or_else(|| SealError::UnknownKey { key_id: hex(id) })?;
        let secret = key
            .cipher()
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: ciphertext,
                    aad: &cell.associated_data(),
                },
            )
            .map_err(|_| SealError::Damaged)?;
        let secret = String::from_utf8(secret).map_err(|_| SealError::Damaged)?;
        Ok(secret.into())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.ids().collect();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let text = text.replace('-', "+").replace('_', "/");
        let tolerant = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        Some(Self::of(tolerant.decode(text).ok()?.try_into().ok()?))
    }

    fn of(bytes: [u8; 32]) -> Self {
        let digest = Sha256::digest(bytes);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&digest[..ID_BYTES]);
        Self {
            id,
            bytes: Arc::new(SecretBox::new(Box::new(bytes))),
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose_secret().into())
    }
}

impl Cell<'_> {
    /// Lengths first, so that no two cells have the same bytes.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for part in [self.table, self.column, self.row] {
            data.extend((part.len() as u64).to_le_bytes());
            data.extend(part.as_bytes());
        }
        data
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    use fmt::Write as _;
    bytes.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "__________________________________________8";

    fn cell<'a>(column: &'a str, row: &'a str) -> Cell<'a> {
        Cell {
            table: "projects",
            column,
            row,
        }
    }

    #[test]
    fn opens_where_it_was_sealed_and_nowhere_else() {
        let keys = Keyring::parse(OLD).unwrap();
        let sealed = keys.seal(cell("refresh_token", "p"), "1//planted").unwrap();
        let text = String::from_utf8_lossy(&sealed).into_owned();
        assert!(!text.contains("planted"));
        let opened = keys.open(cell("refresh_token", "p"), &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "1//planted");
        for elsewhere in [cell("access_token", "p"), cell("refresh_token", "q")] {
            assert_eq!(
                keys.open(elsewhere, &sealed).unwrap_err(),
                SealError::Damaged
            );
        }
        for cut in [0, 3, HEADER_BYTES, sealed.len() - 1] {
            assert!(
                keys.open(cell("refresh_token", "p"), &sealed[..cut])
                    .is_err()
            );
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = Keyring::parse(OLD).unwrap();
        let sealed = old.seal(cell("c", "r"), "s").unwrap();
        let both = Keyring::parse(&format!("{NEW}, {OLD}")).unwrap();
        assert!(both.open(cell("c", "r"), &sealed).is_ok());
        let new = Keyring::parse(NEW).unwrap();
        let resealed = both.seal(cell("c", "r"), "s").unwrap();
        assert!(new.open(cell("c", "r"), &resealed).is_ok());
        assert_eq!(
            new.open(cell("c", "r"), &sealed).unwrap_err(),
            SealError::UnknownKey {
                key_id: old.sealing_key_id()
            }
        );
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_opens_until_it_is_gone() {
        let old = Keyring::parse(OLD).unwrap();
        let sealed = old.seal(cell("c", "r"), "s").unwrap();
        assert_eq!(Keyring::id_of(&sealed), Some(old.sealing_key_id()));
        assert_eq!(Keyring::id_of(b"no"), None);
        let both = old.with_a_new_key().unwrap();
        assert!(both.open(cell("c", "r"), &sealed).is_ok());
        let resealed = both.seal(cell("c", "r"), "s").unwrap();
        let (new, retired) = both.split();
        assert!(new.open(cell("c", "r"), &sealed).is_err());
        assert!(new.open(cell("c", "r"), &resealed).is_ok());
        let kept = Keyring::parse(retired.unwrap().to_text().expose_secret()).unwrap();
        assert_eq!(kept.sealing_key_id(), old.sealing_key_id());
        assert_eq!(new.and(&kept).and(&kept).ids().count(), 2);
        assert!(new.and(&kept).open(cell("c", "r"), &sealed).is_ok());
        let read = Keyring::parse(both.to_text().expose_secret()).unwrap();
        assert!(read.ids().eq(both.ids()));
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_told() {
        assert_eq!(Keyring::parse(" , ").unwrap_err(), KeyError::Empty);
        let short = format!("{OLD},c2hvcnQ=");
        let error = Keyring::parse(&short).unwrap_err();
        assert_eq!(error, KeyError::Malformed { number: 2 });
        assert!(!format!("{error} {:?}", Keyring::parse(OLD)).contains("AAAA"));
    }
}
