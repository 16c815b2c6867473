//! The keys that clients show, and what they are called.

use std::{fmt, sync::Arc};

use antigravity_runtime::secret;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Keys that stand in public documentation and open nothing worth opening.
const SAMPLES: &[&str] = &[
    "sk-your-secret-key",
    "sk-your-api-key",
    "sk-your-api-key-1",
    "sk-your-api-key-2",
    "sk-your-key-here",
    "your-api-key",
    "your-api-key-here",
    "sk-123456",
    "sk-test",
    "sk-xxx",
    "sk-change-me",
    "change-me",
];

/// The keys that clients may use.
#[derive(Clone)]
pub struct ApiKeys(Vec<ApiKey>);

#[derive(Clone)]
struct ApiKey {
    name: Arc<str>,
    key: secret::Digest,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.name))
            .finish()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Key(String),
    Named { name: String, key: String },
}

impl ApiKeys {
    /// One key.
    #[must_use]
    pub fn single(name: &str, key: SecretString) -> Self {
        Self(vec![ApiKey {
            name: name.into(),
            key: secret::Digest::of(key.expose_secret()),
        }])
    }

    /// Reads `API_KEYS`.
    ///
    /// # Errors
    /// Text in none of the forms, or without a key in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let forms = "is no list of keys: give [\"key\"], name=key,name=key or \
                     [{\"name\": \"…\", \"key\": \"…\"}]";
        if text.starts_with('{') {
            return Err(forms.to_owned());
        }
        let entries: Vec<Entry> = if text.starts_with('[') {
            serde_json::from_str(text).map_err(|_| forms.to_owned())?
        } else {
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Entry::Key(part.to_owned()))
                .collect()
        };
        let mut keys: Vec<ApiKey> = Vec::with_capacity(entries.len());
        for entry in entries {
            let (name, key) = match entry {
                Entry::Named { name, key } => (Some(name), key),
                Entry::Key(text) => match text.split_once('=') {
                    // A key may end in the padding of base64.
                    Some((name, key)) if !key.trim_start_matches('=').is_empty() => {
                        (Some(name.trim().to_owned()), key.trim().to_owned())
                    }
                    _ => (None, text),
                },
            };
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
                return Err(
                    "holds a key that is empty or has characters that no header can \
                            carry"
                        .to_owned(),
                );
            }
            let name = name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| secret::hex_digest(&key, 4));
            keys.push(ApiKey {
                name: name.into(),
                key: secret::Digest::of(&key),
            });
        }
        if keys.is_empty() {
            return Err(forms.to_owned());
        }
        Ok(Self(keys))
    }

    /// The name of the key that a client showed; `None` when it is none of ours. Takes
    /// as long whatever was shown.
    #[must_use]
    pub fn name_of(&self, shown: &str) -> Option<&Arc<str>> {
        let shown = secret::Digest::of(shown);
        let mut found = None;
        for key in &self.0 {
            if key.key.is(&shown) {
                found = Some(&key.name);
            }
        }
        found
    }

    /// A key among them that stands in public documentation.
    #[must_use]
    pub fn sample(&self) -> Option<&'static str> {
        SAMPLES
            .iter()
            .find(|sample| self.name_of(sample).is_some())
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (text, shown, name) in [
            (r#"["sk-a", "sk-b"]"#, "sk-b", ""),
            ("sk-a,sk-b", "sk-b", ""),
            ("ann=sk-a, bob = sk-b", "sk-b", "bob"),
            (r#"[{"name":"ann","key":"sk-a"},"bob=sk-b"]"#, "sk-a", "ann"),
            ("c2VjcmV0==", "c2VjcmV0==", ""),
        ] {
            let keys = ApiKeys::parse(text).expect("keys");
            let found = keys.name_of(shown).expect("known");
            if name.is_empty() {
                assert_eq!(**found, secret::hex_digest(shown, 4), "{text}");
            } else {
                assert_eq!(&**found, name, "{text}");
            }
            assert_eq!(keys.name_of("sk-c"), None);
            assert!(!format!("{keys:?}").contains("sk-"), "{keys:?}");
        }
    }

    #[test]
    fn wrong_forms_and_samples() {
        for text in ["", "[]", "[1]", "{\"a\":1}", "[\"\"]", "a b", ","] {
            assert!(ApiKeys::parse(text).is_err(), "{text}");
        }
        let keys = ApiKeys::parse("mine=sk-123456").expect("keys");
        assert_eq!(keys.sample(), Some("sk-123456"));
    }
}
