//! The tables as both databases have them, column by column: what a backup, a restore and a move
//! from one database to the other carry over. Sealed values go as they are.

use sha2::{Digest as _, Sha256};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bytes,
    /// A number in SQLite, which has no others.
    Truth,
}

/// A value, as it stands in either database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Truth(bool),
}

/// A row, in the order of its table's columns.
pub(super) type Row = Vec<Value>;

/// A table. The first columns are its key.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Which rows are carried over.
    pub(super) only: &'static str,
    pub(super) key: usize,
    pub(super) columns: &'static [(&'static str, Kind)],
}

use Kind::{Bytes, Number, Text, Truth};

/// All of them but the ledger's, in an order in which no row comes before one that it refers to.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "meta",
        // The rest says how a database is made.
        only: "key = 'key_check'",
        key: 1,
        columns: &[("key", Text), ("value", Bytes)],
    },
    Table {
        name: "oauth_clients",
        only: "true",
        key: 1,
        columns: &[
            ("client_id", Text),
            ("client_secret_sealed", Bytes),
            ("token_url", Text),
            ("created_at", Number),
            ("updated_at", Number),
        ],
    },
    Table {
        name: "projects",
        only: "true",
        key: 1,
        columns: &[
            ("id", Text),
            ("position", Number),
            ("google_project_id", Text),
            ("upstream", Text),
            ("location", Text),
            ("oauth_client_id", Text),
            ("display_name", Text),
            ("disabled", Truth),
            ("status", Text),
            ("status_reason", Text),
            ("action_url", Text),
            ("credential_kind", Text),
            ("refresh_token_sealed", Bytes),
            ("credential", Number),
            ("access_token_sealed", Bytes),
            ("access_token_expires_at", Number),
            ("access_token_lifetime", Number),
            ("refreshed_at", Number),
            ("created_at", Number),
            ("updated_at", Number),
        ],
    },
    Table {
        name: "cooldowns",
        only: "true",
        key: 2,
        columns: &[
            ("project_id", Text),
            ("model_group", Text),
            ("until", Number),
        ],
    },
    Table {
        name: "rotation",
        only: "true",
        key: 1,
        columns: &[("project_id", Text), ("place", Number)],
    },
    Table {
        name: "imports",
        only: "true",
        key: 2,
        columns: &[
            ("project_id", Text),
            ("source", Text),
            ("google_project_id", Text),
            ("refresh_token_fingerprint", Text),
            ("fields_fingerprint", Text),
            ("imported_at", Number),
        ],
    },
    Table {
        name: "client_imports",
        only: "true",
        key: 2,
        columns: &[
            ("client_id", Text),
            ("source", Text),
            ("fingerprint", Text),
            ("imported_at", Number),
        ],
    },
];

/// The ledger, which may be long: it is carried over hour by hour.
pub(super) const USAGE: Table = Table {
    name: "usage",
    only: "hour = $1",
    key: 4,
    columns: &[
        ("hour", Number),
        ("api_key_name", Text),
        ("project_id", Text),
        ("model", Text),
        ("attempts", Number),
        ("answers", Number),
        ("cancelled", Number),
        ("prompt_tokens", Number),
        ("cached_tokens", Number),
        ("completion_tokens", Number),
        ("reasoning_tokens", Number),
        ("first_event_ms", Number),
        ("duration_ms", Number),
    ],
};

impl Table {
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    pub(super) fn select(&self) -> String {
        format!(
            "SELECT {} FROM {} WHERE {}",
            self.names(),
            self.name,
            self.only
        )
    }

    /// In an order that both databases agree on.
    pub(super) fn sort(&self, rows: &mut [Row]) {
        rows.sort_by(|a, b| {
            let key = |row: &Row| row[..self.key].iter().map(Value::bytes).collect::<Vec<_>>();
            key(a).cmp(&key(b))
        });
    }
}

impl Value {
    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => text.as_ref().map(|text| text.clone().into_bytes()),
            // So that numbers compare as numbers do.
            Self::Number(number) => {
                number.map(|number| (number.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec())
            }
            Self::Bytes(bytes) => bytes.clone(),
            Self::Truth(truth) => Some(vec![u8::from(*truth)]),
        }
    }
}

/// A digest of rows, by which two databases are held against each other.
pub(super) fn digest(rows: &[Row]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for value in rows.iter().flatten() {
        match value.bytes() {
            None => digest.update([0]),
            Some(bytes) => {
                digest.update([1]);
                digest.update((bytes.len() as u64).to_be_bytes());
                digest.update(bytes);
            }
        }
    }
    digest.finalize().into()
}
