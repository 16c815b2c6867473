//! What can be wrong with a tokens file and its entries, in words that tell no secret.

use crate::{credential::Kind, service_account::KeyError};

/// What can be imported, for a file that cannot.
const RECOGNISED: &str = "Those are: a tokens file ({\"oauth_config\": {...}, \"projects\": \
    [...]}), a sealed export, gcloud's application_default_credentials.json, a service-account \
    key, gemini-cli's oauth_creds.json, and the accounts of CLIProxyAPI (antigravity-*.json, \
    gemini-*.json), Antigravity-Manager, opencode-antigravity-auth, antigravity2api and \
    antigravity-claude-proxy (docs/credentials.md)";

/// What is wrong with a part of a tokens file. Holds names and lines, no values of
/// secret fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// The entry is not a JSON object.
    #[error("is {found}, not an object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// A field that has to be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field has a value of another type.
    #[error("{field} is {found}, not {wanted}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// The project's number stands where its id belongs.
    #[error("project_id is a project number; the project id (like my-project-123) is wanted")]
    ProjectNumber,
    /// An id with characters that ids do not have.
    #[error("{field} is not 1 to 128 characters of [A-Za-z0-9._:@-]")]
    BadId {
        /// The field.
        field: &'static str,
    },
    /// A name that is too long.
    #[error("{field} has more than {limit} characters")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A name with a character that cannot be shown.
    #[error("{field} has a control character in it")]
    ControlCharacter {
        /// The field.
        field: &'static str,
    },
    /// A secret or a name with a character that HTTP cannot carry.
    #[error("{field} holds a space or a control character")]
    BadCharacter {
        /// The field.
        field: &'static str,
    },
    /// An upstream that there is not.
    #[error("upstream is none of antigravity, gemini, vertex")]
    BadUpstream,
    /// A location that is no name of one.
    #[error("location is not a Vertex location such as global or europe-west1")]
    BadLocation,
    /// A `token_url` that is no URL.
    #[error("token_url is not a URL such as https://oauth2.googleapis.com/token")]
    BadTokenUrl,
    /// A service-account key that is none, or not to be used.
    #[error("the service-account key {error}")]
    BadKey {
        /// Why.
        error: KeyError,
    },
    /// More than one of the secrets that a project can log in with.
    #[error("{field} stands beside {other}; a project has one of them")]
    SeveralCredentials {
        /// One of them.
        field: &'static str,
        /// The other.
        other: &'static str,
    },
    /// An upstream that does not take the credential.
    #[error("upstream {problem}")]
    WrongUpstream {
        /// What is wrong with it.
        problem: String,
    },
    /// An OAuth client beside a credential that has none.
    #[error("oauth_client is for refresh tokens, not for {kind}")]
    NeedlessClient {
        /// The credential's kind.
        kind: Kind,
    },
    /// An account without a Google project.
    #[error(
        "names no Google project; give it (import --project PROJECT_ID, or \
         options.default_google_project_id), or log the account in, which finds it \
         (antigravity-gateway login)"
    )]
    NoProject,
    /// The same project, upstream and credential again.
    #[error("is the same as the entry in line {line}")]
    Duplicate {
        /// The other's line.
        line: u32,
    },
    /// An `id` that another entry has.
    #[error("the id is that of the entry in line {line}")]
    IdTaken {
        /// The other's line.
        line: u32,
    },
    /// Fields that mean nothing here.
    #[error("ignored unknown fields: {}", names.join(", "))]
    UnknownFields {
        /// Their names.
        names: Vec<String>,
    },
    /// An `expires_at` that is no time: the access token counts as expired.
    #[error("expires_at is not a time; the access token counts as expired")]
    UnreadableExpiry,
    /// An `access_token` that is not text: it is ignored.
    #[error("access_token is {found}, not text; it is ignored")]
    UnreadableToken {
        /// What it is.
        found: &'static str,
    },
    /// A client that was given before, with another secret or token URL.
    #[error("the OAuth client {client_id} is given differently in line {line}, which holds")]
    ClientDiffers {
        /// The client.
        client_id: String,
        /// Where it was given first.
        line: u32,
    },
    /// A client without a secret.
    #[error("client_secret is missing; Google refuses most clients without it")]
    NoClientSecret,
}

/// Why a file cannot be read as a tokens file at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensFileError {
    /// It is not text.
    #[error("line {line}: it is not UTF-8 text; save it as UTF-8")]
    NotUtf8 {
        /// The line, from 1.
        line: u32,
    },
    /// It is not JSON.
    #[error("line {line}, column {column}: it is not JSON: {problem}")]
    NotJson {
        /// The line, from 1.
        line: u32,
        /// The column, from 1.
        column: u32,
        /// What the JSON parser says; it quotes nothing of the file.
        problem: String,
    },
    /// It is an OAuth client, and no project.
    #[error(
        "line {line}: it is an OAuth client as the Google Cloud console gives it, and no account; \
         `antigravity-gateway oauth-clients put` takes its client_id and client_secret"
    )]
    OAuthClient {
        /// The line, from 1.
        line: u32,
    },
    /// It is Antigravity-Manager's list of its accounts, which has no tokens.
    #[error(
        "line {line}: it is Antigravity-Manager's list of its accounts, which holds no tokens; import the \
         folder `accounts` beside it"
    )]
    ManagerIndex {
        /// The line, from 1.
        line: u32,
    },
    /// It has more entries than a pool can have.
    #[error(
        "line {line}: {part} has {found} entries, and at most {most} are taken at once; import \
         it in parts"
    )]
    TooMany {
        /// The line, from 1.
        line: u32,
        /// The list.
        part: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// It is none of the files that are recognised.
    #[error("line {line}: it is no credential file that is recognised. {RECOGNISED}")]
    Unrecognised {
        /// The line, from 1.
        line: u32,
    },
    /// It is JSON of another kind.
    #[error(
        "line {line}: {part} is {found}, not {wanted}; \
         a tokens file is {{\"oauth_config\": {{...}}, \"projects\": [...]}}"
    )]
    WrongShape {
        /// The line, from 1.
        line: u32,
        /// Which part.
        part: &'static str,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}
