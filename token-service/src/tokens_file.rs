//! Reads tokens files, `{"oauth_config": {...}, "projects": [...]}`, and the credential
//! files of other programs. Knows the line of everything, never writes, and tells no
//! secret in what it complains about.

mod complaint;
mod expiry;
mod fields;
mod format;
mod others;

use std::{collections::HashMap, fmt};

use antigravity_runtime::secret;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::value::RawValue;

pub use self::{
    complaint::{Complaint, TokensFileError},
    format::Format,
};
use self::{
    fields::{Fields, Kind},
    format::Unknown,
};
use crate::{
    credential::{Credential, Kind as CredentialKind},
    project::Upstream,
};

/// What a tokens file says.
#[derive(Debug)]
pub struct TokensFile {
    /// What it was recognised as.
    pub format: Format,
    /// The OAuth clients, those of `oauth_config`, `oauth_clients` and of entries.
    pub clients: Vec<Client>,
    /// The client of `oauth_config` (or the only one of `oauth_clients`): for entries
    /// that name none.
    pub default_client: Option<String>,
    /// The entries that can be imported, in their order.
    pub entries: Vec<Entry>,
    /// Those that cannot, and why.
    pub rejected: Vec<Rejected>,
    /// Whether the file has a client that cannot be used: entries that name none are not
    /// taken for another's then, whose endpoint would get their refresh tokens.
    pub rejected_client: bool,
    /// What was ignored, outside the entries.
    pub warnings: Vec<Warning>,
}

/// What is taken where a file does not say.
#[derive(Clone, Debug)]
pub struct Hints {
    /// For entries that name no upstream, where their credential serves it.
    pub default_upstream: Upstream,
    /// For the accounts of other programs' files, in place of what is usual for them.
    pub stated_upstream: Option<Upstream>,
    /// For the accounts of other programs' files that name no Google project.
    pub google_project_id: Option<String>,
}

impl Hints {
    /// Only for the upstream.
    #[must_use]
    pub fn upstream(default_upstream: Upstream) -> Self {
        Self {
            default_upstream,
            stated_upstream: None,
            google_project_id: None,
        }
    }
}

/// An OAuth client of a tokens file.
#[derive(Debug)]
pub struct Client {
    /// Its line, from 1.
    pub line: u32,
    /// Google's client id.
    pub client_id: String,
    /// Secret; `None` for a public client.
    pub client_secret: Option<SecretString>,
    /// Where it refreshes. `None`: the default.
    pub token_url: Option<String>,
}

/// A project of a tokens file.
#[derive(Debug)]
pub struct Entry {
    /// Its line, from 1.
    pub line: u32,
    /// `id`, when it is stated.
    pub id: Option<String>,
    /// `project_id`; may be empty with an API key.
    pub google_project_id: String,
    /// `upstream`, when it is stated.
    pub upstream: Option<Upstream>,
    /// `location`; empty when it is not stated.
    pub location: String,
    /// The client id of `oauth_client`, when it is stated.
    pub oauth_client: Option<String>,
    /// `display_name`; empty when it is not stated.
    pub display_name: String,
    /// `disabled`, when it is stated.
    pub disabled: Option<bool>,
    /// Secret: `refresh_token`, `service_account_key` or `api_key`.
    pub credential: Credential,
    /// `access_token` with a readable `expires_at`.
    pub access_token: Option<GivenToken>,
    /// What was ignored in it.
    pub warnings: Vec<Complaint>,
}

/// An access token that a tokens file came with.
#[derive(Debug)]
pub struct GivenToken {
    /// Secret.
    pub secret: SecretString,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// An entry that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its line, from 1.
    pub line: u32,
    /// Its `id` or `project_id`; empty when it has none.
    pub id: String,
    /// What is wrong with it.
    pub complaint: Complaint,
}

/// Something that was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1.
    pub line: u32,
    /// What.
    pub complaint: Complaint,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.id.is_empty() {
            write!(f, "{}: ", self.id)?;
        }
        self.complaint.fmt(f)
    }
}

/// Reads a tokens file, or another program's. Entries that name no upstream are compared
/// with the others as if they named the default one.
///
/// # Errors
/// A file that is not JSON, or of no shape that is recognised. A bad entry is not an
/// error, but listed in [`TokensFile::rejected`].
pub fn parse(bytes: &[u8], hints: &Hints) -> Result<TokensFile, TokensFileError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| TokensFileError::NotUtf8 {
        line: Lines::of(&bytes[..error.valid_up_to()]).last(),
    })?;
    let text = expiry::without_python_constants(text);
    Reader {
        lines: Lines::of(text.as_bytes()),
        text: &text,
        hints,
        seen: HashMap::new(),
        ids: HashMap::new(),
        clients: HashMap::new(),
        file: TokensFile {
            format: Format::TokensFile,
            clients: Vec::new(),
            default_client: None,
            entries: Vec::new(),
            rejected: Vec::new(),
            rejected_client: false,
            warnings: Vec::new(),
        },
    }
    .read()
}

/// Twice what a pool is made for. Whoever asks for tokens waits while a file is compared with
/// the pool.
const MOST_ENTRIES: usize = 20_000;

struct Reader<'a> {
    text: &'a str,
    lines: Lines,
    hints: &'a Hints,
    /// Project, upstream and credential of the entries so far, and their lines.
    seen: HashMap<(String, Upstream, String), u32>,
    ids: HashMap<String, u32>,
    /// Where each client of the file is listed.
    clients: HashMap<String, usize>,
    file: TokensFile,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<TokensFile, TokensFileError> {
        let whole: &RawValue =
            serde_json::from_str(self.text).map_err(|error| not_json(&error, self.text))?;
        let line = self.line(whole);
        self.file.format = format::recognise(whole).map_err(|unknown| match unknown {
            Unknown::OAuthClient => TokensFileError::OAuthClient { line },
            Unknown::ManagerIndex => TokensFileError::ManagerIndex { line },
            Unknown::Shape => TokensFileError::Unrecognised { line },
        })?;
        if self.file.format != Format::TokensFile {
            self.read_other(whole, self.file.format)?;
            return Ok(self.file);
        }
        let mut top = Fields::read(whole).ok_or(TokensFileError::Unrecognised { line })?;
        let config = top.take("oauth_config");
        let clients = top.take("oauth_clients");
        let projects = top.take("projects");

        if let Some(config) = config.filter(|value| Kind::of(value) != Kind::Null) {
            if Kind::of(config) != Kind::Object {
                return Err(self.wrong_shape(config, "oauth_config", "an object"));
            }
            self.file.default_client = self.listed_client(config);
        }
        for client in self.list(clients, "oauth_clients")? {
            self.listed_client(client);
        }
        if let ([only], None) = (&*self.file.clients, &self.file.default_client) {
            self.file.default_client = Some(only.client_id.clone());
        }
        let projects = projects.ok_or_else(|| TokensFileError::WrongShape {
            line: self.line(whole),
            part: "projects",
            found: "missing",
            wanted: "a list",
        })?;
        for entry in self.list(Some(projects), "projects")? {
            self.entry(entry);
        }
        if let Some(complaint) = top.unknown() {
            let line = self.line(whole);
            self.file.warnings.push(Warning { line, complaint });
        }
        Ok(self.file)
    }

    fn list(
        &self,
        value: Option<&'a RawValue>,
        part: &'static str,
    ) -> Result<Vec<&'a RawValue>, TokensFileError> {
        let Some(value) = value.filter(|value| Kind::of(value) != Kind::Null) else {
            return Ok(Vec::new());
        };
        // Only the shape can be wrong: the whole has been read as JSON before.
        let list: Vec<_> = serde_json::from_str(value.get())
            .map_err(|_| self.wrong_shape(value, part, "a list"))?;
        if list.len() > MOST_ENTRIES {
            return Err(TokensFileError::TooMany {
                line: self.line(value),
                part,
                found: list.len(),
                most: MOST_ENTRIES,
            });
        }
        Ok(list)
    }

    /// A client outside of entries; what is wrong with it is listed.
    fn listed_client(&mut self, value: &'a RawValue) -> Option<String> {
        let line = self.line(value);
        match self.client(value) {
            Ok((client_id, warnings)) => {
                self.file.warnings.extend(
                    warnings
                        .into_iter()
                        .map(|complaint| Warning { line, complaint }),
                );
                Some(client_id)
            }
            Err(complaint) => {
                self.file.rejected_client = true;
                self.file.rejected.push(Rejected {
                    line,
                    id: String::new(),
                    complaint,
                });
                None
            }
        }
    }

    fn client(&mut self, value: &'a RawValue) -> Result<(String, Vec<Complaint>), Complaint> {
        let line = self.line(value);
        let mut fields = Fields::read(value).ok_or_else(|| Complaint::NotAnObject {
            found: Kind::of(value).name(),
        })?;
        let client_id = fields.required_token("client_id")?;
        let client_secret = fields.token("client_secret")?;
        let token_url = fields.token("token_url")?;
        let is_url = |url: &String| antigravity_runtime::config::base_url(url).is_ok();
        if !token_url.as_ref().is_none_or(is_url) {
            return Err(Complaint::BadTokenUrl);
        }
        let mut warnings: Vec<_> = fields.unknown().into_iter().collect();
        warnings.extend(self.register(line, &client_id, client_secret, token_url));
        Ok((client_id, warnings))
    }

    /// Keeps a client, unless it was given before; what is to be said of it.
    fn register(
        &mut self,
        line: u32,
        client_id: &str,
        client_secret: Option<String>,
        token_url: Option<String>,
    ) -> Option<Complaint> {
        let same = |client: &Client| {
            client.token_url == token_url
                && client.client_secret.as_ref().map(|s| s.expose_secret())
                    == client_secret.as_deref()
        };
        let known = self.clients.get(client_id);
        match known.and_then(|at| self.file.clients.get(*at)) {
            Some(known) if same(known) => None,
            Some(known) => Some(Complaint::ClientDiffers {
                client_id: client_id.to_owned(),
                line: known.line,
            }),
            None => {
                let warning = client_secret.is_none().then_some(Complaint::NoClientSecret);
                self.clients
                    .insert(client_id.to_owned(), self.file.clients.len());
                self.file.clients.push(Client {
                    line,
                    client_id: client_id.to_owned(),
                    client_secret: client_secret.map(Into::into),
                    token_url,
                });
                warning
            }
        }
    }

    fn reject(&mut self, line: u32, id: String, complaint: Complaint) {
        self.file.rejected.push(Rejected {
            line,
            id,
            complaint,
        });
    }

    fn entry(&mut self, value: &'a RawValue) {
        let line = self.line(value);
        let name = Fields::read(value).map_or_else(String::new, |mut fields| {
            let mut name = |field| fields.id(field).ok().flatten();
            name("id")
                .or_else(|| name("project_id"))
                .unwrap_or_default()
        });
        match self.checked_entry(value, line) {
            Ok(entry) => self.file.entries.push(entry),
            Err(complaint) => self.reject(line, name, complaint),
        }
    }

    fn checked_entry(&mut self, value: &'a RawValue, line: u32) -> Result<Entry, Complaint> {
        let mut fields = Fields::read(value).ok_or_else(|| Complaint::NotAnObject {
            found: Kind::of(value).name(),
        })?;
        let credential = fields::credential(&mut fields)?;
        let google_project_id = match (&credential, fields.has("project_id")) {
            (Credential::ApiKey(_), false) => String::new(),
            (Credential::ServiceAccountKey(key), false) if !key.project_id().is_empty() => {
                key.project_id().to_owned()
            }
            _ => fields.google_project_id()?,
        };
        let id = fields.id("id")?;
        let upstream = match fields.text("upstream")? {
            None => None,
            Some(name) => Some(name.parse().map_err(|_| Complaint::BadUpstream)?),
        };
        let location = fields.text("location")?.unwrap_or_default();
        if !is_location(&location) {
            return Err(Complaint::BadLocation);
        }
        let display_name = fields.text("display_name")?.unwrap_or_default();
        if display_name.chars().count() > crate::limits::DISPLAY_NAME {
            return Err(Complaint::TooLong {
                field: "display_name",
                limit: crate::limits::DISPLAY_NAME,
            });
        }
        if !crate::limits::is_showable(&display_name) {
            return Err(Complaint::ControlCharacter {
                field: "display_name",
            });
        }
        let disabled = fields.boolean("disabled")?;

        let mut warnings = Vec::new();
        let access_token = self.given_token(&mut fields, &mut warnings);
        let oauth_client = match fields.take("oauth_client") {
            Some(client) if Kind::of(client) == Kind::Object => {
                let (client_id, more) = self.client(client)?;
                warnings.extend(more);
                Some(client_id)
            }
            Some(client) => fields::text_of(client, "oauth_client")?,
            None => None,
        };
        warnings.extend(fields.unknown());

        self.accept(Entry {
            line,
            id,
            google_project_id,
            upstream,
            location,
            oauth_client,
            display_name,
            disabled,
            credential,
            access_token,
            warnings,
        })
    }

    /// Looks at an entry as a whole, and beside the others.
    fn accept(&mut self, entry: Entry) -> Result<Entry, Complaint> {
        let kind = entry.credential.kind();
        let (id, line) = (&entry.id, entry.line);
        let upstream = entry
            .upstream
            .unwrap_or_else(|| kind.upstream_or(self.hints.default_upstream));
        if !kind.serves(upstream) {
            return Err(Complaint::WrongUpstream {
                problem: kind.refuses(upstream),
            });
        }
        if kind != CredentialKind::RefreshToken && entry.oauth_client.is_some() {
            return Err(Complaint::NeedlessClient { kind });
        }
        let identity = (
            entry.google_project_id.clone(),
            upstream,
            secret::fingerprint(entry.credential.text().expose_secret()),
        );
        if let Some(&line) = self.seen.get(&identity) {
            return Err(Complaint::Duplicate { line });
        }
        if let Some(id) = id {
            if let Some(&line) = self.ids.get(id) {
                return Err(Complaint::IdTaken { line });
            }
            self.ids.insert(id.clone(), line);
        }
        self.seen.insert(identity, line);
        Ok(entry)
    }

    /// What is wrong with an access token costs only this token: it is refreshed.
    fn given_token(
        &self,
        fields: &mut Fields<'a>,
        warnings: &mut Vec<Complaint>,
    ) -> Option<GivenToken> {
        let expires_at = fields.take("expires_at");
        let secret = match fields.token("access_token") {
            Ok(secret) => secret,
            Err(Complaint::WrongType { found, .. }) => {
                warnings.push(Complaint::UnreadableToken { found });
                None
            }
            Err(complaint) => {
                warnings.push(complaint);
                None
            }
        };
        let expires_at = match expires_at.map(expiry::read) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(time))) => Some(time),
            Some(Err(expiry::Unreadable)) => {
                warnings.push(Complaint::UnreadableExpiry);
                None
            }
        };
        Some(GivenToken {
            secret: secret?.into(),
            expires_at: expires_at?,
        })
    }

    fn line(&self, value: &RawValue) -> u32 {
        // Values borrow from the text, so their addresses tell where they stand.
        let offset = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        self.lines.at(offset)
    }

    fn wrong_shape(
        &self,
        value: &RawValue,
        part: &'static str,
        wanted: &'static str,
    ) -> TokensFileError {
        TokensFileError::WrongShape {
            line: self.line(value),
            part,
            found: Kind::of(value).name(),
            wanted,
        }
    }
}

/// Whether a text can be a Vertex location; none at all can.
pub(crate) fn is_location(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn not_json(error: &serde_json::Error, text: &str) -> TokensFileError {
    let told = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let problem = match told.strip_suffix(&place) {
        _ if text.trim().is_empty() => "it is empty",
        Some(problem) => problem,
        None => &told,
    };
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    TokensFileError::NotJson {
        line: number(error.line()),
        column: number(error.column()),
        problem: problem.to_owned(),
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &[u8]) -> Self {
        let breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    fn at(&self, offset: usize) -> u32 {
        let line = self.0.partition_point(|&start| start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    fn last(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}
