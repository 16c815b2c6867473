//! The fields of one JSON object, each read with its own complaint. Values are not
//! quoted: any of them may be a secret in the wrong place.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::Complaint;
use crate::{
    credential::{Credential, Kind as CredentialKind},
    limits,
    service_account::ServiceAccountKey,
};

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// An object's fields; each that is read is taken out.
#[derive(Default)]
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// `None` when the value is not an object.
    pub(super) fn read(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok().map(Self)
    }

    /// Whether it is there, and something.
    pub(super) fn has(&self, field: &str) -> bool {
        let value = self.0.get(field);
        value.is_some_and(|value| !matches!(value.get(), "null" | "\"\""))
    }

    pub(super) fn take(&mut self, field: &str) -> Option<&'a RawValue> {
        self.0.remove(field)
    }

    /// Text, trimmed; null and empty text count as absent.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<String>, Complaint> {
        self.take(field)
            .map_or(Ok(None), |value| text_of(value, field))
    }

    /// Text that HTTP can carry as it is.
    pub(super) fn token(&mut self, field: &'static str) -> Result<Option<String>, Complaint> {
        let text = self.text(field)?;
        if text
            .as_ref()
            .is_some_and(|text| text.len() > limits::SECRET)
        {
            return Err(Complaint::TooLong {
                field,
                limit: limits::SECRET,
            });
        }
        if !text.as_deref().is_none_or(limits::is_token) {
            return Err(Complaint::BadCharacter { field });
        }
        Ok(text)
    }

    pub(super) fn required_token(&mut self, field: &'static str) -> Result<String, Complaint> {
        self.token(field)?.ok_or(Complaint::Missing { field })
    }

    pub(super) fn id(&mut self, field: &'static str) -> Result<Option<String>, Complaint> {
        let text = self.text(field)?;
        if !text.as_deref().is_none_or(limits::is_id) {
            return Err(Complaint::BadId { field });
        }
        Ok(text)
    }

    pub(super) fn google_project_id(&mut self) -> Result<String, Complaint> {
        let field = "project_id";
        if self
            .0
            .get(field)
            .is_some_and(|value| Kind::of(value) == Kind::Number)
        {
            return Err(Complaint::ProjectNumber);
        }
        let id = self.id(field)?.ok_or(Complaint::Missing { field })?;
        if limits::is_project_number(&id) {
            return Err(Complaint::ProjectNumber);
        }
        Ok(id)
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<Option<bool>, Complaint> {
        match self.take(field) {
            None => Ok(None),
            Some(value) if Kind::of(value) == Kind::Null => Ok(None),
            Some(value) if Kind::of(value) == Kind::Boolean => Ok(Some(value.get() == "true")),
            Some(value) => Err(Complaint::WrongType {
                field,
                found: Kind::of(value).name(),
                wanted: "true or false",
            }),
        }
    }

    /// A complaint about the fields that nobody has taken.
    pub(super) fn unknown(self) -> Option<Complaint> {
        let names: Vec<_> = self
            .0
            .into_keys()
            .map(|name| name.chars().take(64).collect())
            .collect();
        (!names.is_empty()).then_some(Complaint::UnknownFields { names })
    }
}

/// As [`Fields::text`], of a value that was taken.
pub(super) fn text_of(value: &RawValue, field: &'static str) -> Result<Option<String>, Complaint> {
    let wrong = |found| Complaint::WrongType {
        field,
        found,
        wanted: "text",
    };
    match Kind::of(value) {
        Kind::Null => Ok(None),
        Kind::Text => {
            let text: String = serde_json::from_str(value.get())
                .map_err(|_| wrong("text with half a surrogate pair"))?;
            let text = text.trim();
            Ok((!text.is_empty()).then(|| text.to_owned()))
        }
        other => Err(wrong(other.name())),
    }
}

/// The one secret that an entry logs in with.
pub(super) fn credential(fields: &mut Fields<'_>) -> Result<Credential, Complaint> {
    let kinds = [
        CredentialKind::RefreshToken,
        CredentialKind::ServiceAccountKey,
        CredentialKind::ApiKey,
    ];
    let mut given = kinds.into_iter().filter(|kind| fields.has(kind.name()));
    let kind = given.next().unwrap_or(CredentialKind::RefreshToken);
    if let Some(other) = given.next() {
        return Err(Complaint::SeveralCredentials {
            field: other.name(),
            other: kind.name(),
        });
    }
    match kind {
        CredentialKind::RefreshToken => Ok(Credential::RefreshToken(
            fields.required_token(kind.name())?.into(),
        )),
        CredentialKind::ApiKey => Ok(Credential::ApiKey(
            fields.required_token(kind.name())?.into(),
        )),
        CredentialKind::ServiceAccountKey => {
            let value = fields
                .take(kind.name())
                .ok_or(Complaint::Missing { field: kind.name() })?;
            // The file's content, as an object or as text.
            let text = match Kind::of(value) {
                Kind::Text => text_of(value, kind.name())?.unwrap_or_default(),
                _ => value.get().to_owned(),
            };
            let key =
                ServiceAccountKey::parse(&text).map_err(|error| Complaint::BadKey { error })?;
            Ok(Credential::ServiceAccountKey(Arc::new(key)))
        }
    }
}
