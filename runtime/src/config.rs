//! Configuration from environment variables and a `.env` file: read once, typed,
//! and documented in one table per service that `--help` prints.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::{dotenv, secret::SecretFileError};

/// A variable that an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Var {
    /// Its name in the environment.
    pub name: &'static str,
    /// What it is when it is not set, as the operator would write it. Empty: nothing.
    pub default: &'static str,
    /// What it does, in a sentence or two, units included.
    pub help: &'static str,
    /// Whether it is a secret: then `<name>_FILE` may name a file that holds it.
    pub secret: bool,
}

/// Why a service does not start with its configuration. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be used.
    #[error("{name} ({origin}): {problem}")]
    Invalid {
        /// The variable.
        name: String,
        /// Where it was set.
        origin: Origin,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A value that is needed and not there.
    #[error("{name} is not set: {remedy}")]
    Missing {
        /// The variable.
        name: String,
        /// What to do.
        remedy: String,
    },
    /// The file of a secret that is not set otherwise.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    /// A `.env` file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `.env` file with a line that is no assignment.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, and why.
        source: dotenv::Malformed,
    },
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The process environment.
    Environment,
    /// A line of a `.env` file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file that `<NAME>_FILE` names.
    SecretFile(PathBuf),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("set in the environment"),
            Self::File { path, line } => write!(f, "line {line} of {}", path.display()),
            Self::SecretFile(path) => write!(f, "from {}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// The variables of the process, over those of a `.env` file.
#[derive(Clone, Default)]
pub struct Environment {
    values: HashMap<String, (String, Origin)>,
    /// The `.env` file, whether there is one or not.
    file: Option<PathBuf>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.values.keys().collect();
        names.sort();
        f.debug_tuple("Environment").field(&names).finish()
    }
}

impl Environment {
    /// The process environment over `env_file`; without one, over `./.env` when
    /// there is such a file.
    ///
    /// # Errors
    /// A file that was named and cannot be read, or that has a malformed line.
    pub fn load(env_file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = env_file.unwrap_or(Path::new(".env"));
        let mut this = Self {
            file: Some(path.to_owned()),
            ..Self::default()
        };
        match std::fs::read_to_string(path) {
            Ok(text) => this.add_file(path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && env_file.is_none() => {}
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                this.values.insert(name, (value, Origin::Environment));
            }
        }
        Ok(this)
    }

    /// Exactly these variables, as if they were set in the environment.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self {
            values: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), (value.into(), Origin::Environment)))
                .collect(),
            file: None,
        }
    }

    /// As the `.env` file is now: what it sets goes before all else, as the process's own
    /// environment cannot have changed.
    ///
    /// # Errors
    /// As [`Environment::load`].
    pub fn anew(&self) -> Result<Self, ConfigError> {
        let mut this = self.clone();
        // What a file of before has set may be gone.
        this.values
            .retain(|_, (_, origin)| !matches!(origin, Origin::File { .. }));
        if let Some(path) = self.file.clone() {
            match std::fs::read_to_string(&path) {
                Ok(text) => this.add_file(&path, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigError::Unreadable { path, source }),
            }
        }
        Ok(this)
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let assignments = dotenv::parse(text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        for assignment in assignments {
            let origin = Origin::File {
                path: path.to_owned(),
                line: assignment.line,
            };
            self.values
                .insert(assignment.name, (assignment.value, origin));
        }
        Ok(())
    }

    /// Names set in a `.env` file that none of `known` has, with their lines: a
    /// misspelt name would otherwise be ignored in silence.
    #[must_use]
    pub fn unknown(&self, known: &[&[Var]]) -> Vec<(String, Origin)> {
        let is_known = |name: &str| {
            known.iter().copied().flatten().any(|var| {
                name == var.name || (var.secret && name.strip_suffix("_FILE") == Some(var.name))
            })
        };
        let mut unknown: Vec<_> = self
            .values
            .iter()
            .filter(|(name, (_, origin))| matches!(origin, Origin::File { .. }) && !is_known(name))
            .map(|(name, (_, origin))| (name.clone(), origin.clone()))
            .collect();
        unknown.sort_by(|a, b| a.0.cmp(&b.0));
        unknown
    }

    /// The value as it was set, and where. An empty value counts as not set. A
    /// secret may come from the file that `<name>_FILE` names.
    ///
    /// # Errors
    /// A `<name>_FILE` that cannot be read, or one beside a set `<name>`.
    pub fn raw(&self, var: &Var) -> Result<Option<(String, Origin)>, ConfigError> {
        let set = |name: &str| {
            let value = self.values.get(name);
            value.filter(|(value, _)| !value.trim().is_empty())
        };
        let direct = set(var.name);
        let file_name = format!("{}_FILE", var.name);
        let file = var.secret.then(|| set(&file_name)).flatten();
        match (direct, file) {
            (Some(_), Some((_, origin))) => Err(ConfigError::Invalid {
                name: file_name,
                origin: origin.clone(),
                problem: format!("{} is set as well; keep one of the two", var.name),
            }),
            (Some(value), None) => Ok(Some(value.clone())),
            (None, Some((path, origin))) => {
                let invalid = |problem| ConfigError::Invalid {
                    name: file_name.clone(),
                    origin: origin.clone(),
                    problem,
                };
                let text = std::fs::read_to_string(path)
                    .map_err(|error| invalid(format!("cannot read {path}: {error}")))?;
                if text.trim().is_empty() {
                    return Err(invalid(format!("{path} is empty")));
                }
                let origin = Origin::SecretFile(path.into());
                Ok(Some((text.trim().to_owned(), origin)))
            }
            (None, None) => Ok(None),
        }
    }

    /// The value read by `read`, which says what would be right when it is wrong.
    /// Not set: the default, read alike; `None` when there is no default.
    ///
    /// # Errors
    /// As [`Environment::raw`], and a value that `read` refuses.
    pub fn read<T>(
        &self,
        var: &Var,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let (value, origin) = match self.raw(var)? {
            Some(set) => set,
            None if var.default.is_empty() => return Ok(None),
            None => (var.default.to_owned(), Origin::Default),
        };
        read(value.trim())
            .map(Some)
            .map_err(|problem| ConfigError::Invalid {
                name: var.name.to_owned(),
                origin,
                // URLs may carry a password.
                problem: if var.secret || value.contains('@') {
                    problem
                } else {
                    format!("{value:?} {problem}")
                },
            })
    }

    /// As [`Environment::read`], for a variable that has a default or must be set.
    ///
    /// # Errors
    /// As [`Environment::read`], and when it is not set.
    pub fn required<T>(
        &self,
        var: &Var,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        self.read(var, read)?.ok_or_else(|| ConfigError::Missing {
            name: var.name.to_owned(),
            remedy: format!("set it; {}", var.help),
        })
    }

    /// A secret text.
    ///
    /// # Errors
    /// As [`Environment::raw`].
    pub fn secret(&self, var: &Var) -> Result<Option<SecretString>, ConfigError> {
        Ok(self.raw(var)?.map(|(value, _)| value.trim().into()))
    }

    /// The file that `var` names. Nothing is read yet.
    ///
    /// # Errors
    /// As [`Environment::raw`].
    pub fn file(&self, var: &Var) -> Result<Option<NamedFile>, ConfigError> {
        Ok(self.raw(var)?.map(|(path, origin)| NamedFile {
            name: var.name,
            origin,
            path: path.trim().into(),
        }))
    }

    /// An error about the value of `var`, for checks that need more than the value.
    #[must_use]
    pub fn invalid(&self, var: &Var, problem: impl Into<String>) -> ConfigError {
        let origin = match self.raw(var) {
            Ok(Some((_, origin))) => origin,
            Ok(None) | Err(_) => Origin::Default,
        };
        ConfigError::Invalid {
            name: var.name.to_owned(),
            origin,
            problem: problem.into(),
        }
    }
}

/// A file that a variable names, read when it is needed and again when it may have changed.
#[derive(Clone, Debug)]
pub struct NamedFile {
    /// The variable.
    pub name: &'static str,
    origin: Origin,
    /// The file.
    pub path: PathBuf,
}

impl NamedFile {
    /// What it holds now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, ConfigError> {
        std::fs::read(&self.path).map_err(|error| self.invalid(&format!("cannot be read: {error}")))
    }

    /// An error about what it holds; `problem` goes on from its name.
    #[must_use]
    pub fn invalid(&self, problem: &str) -> ConfigError {
        ConfigError::Invalid {
            name: self.name.to_owned(),
            origin: self.origin.clone(),
            problem: format!("{} {problem}", self.path.display()),
        }
    }
}

/// Reads anything that parses; `what` finishes the sentence "… is not".
pub fn parsed<T: FromStr>(what: &'static str) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| text.parse().map_err(|_| format!("is not {what}"))
}

/// Reads `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`, as pydantic does.
///
/// # Errors
/// Any other text.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// Reads a duration such as `250ms`, `30s`, `5m` or `1h`; a bare number is seconds.
///
/// # Errors
/// Any other text, and more than a hundred years.
pub fn duration(text: &str) -> Result<Duration, String> {
    const MAX_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;
    let wrong = || "is not a duration such as 250ms, 30s, 5m or 1h".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let seconds = number * factor;
    if seconds > MAX_SECONDS {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// As [`duration`], for limits that nothing could keep if they were zero.
///
/// # Errors
/// As [`duration`], and zero.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("is nothing; give a time such as 30s".to_owned()),
        some => Ok(some),
    }
}

/// Reads a number of bytes such as `1048576`, `512KiB`, `32MiB`.
///
/// # Errors
/// Any other text.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || "is not a size such as 1048576, 512KiB or 32MiB".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" | "KB" => 1 << 10,
        "MiB" | "M" | "MB" => 1 << 20,
        "GiB" | "G" | "GB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads an absolute `http` or `https` URL and drops a trailing slash.
///
/// # Errors
/// Any other text, and one with a query or a fragment.
pub fn base_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text
        .parse()
        .map_err(|_| "is not a URL such as https://example.com".to_owned())?;
    let scheme_fits = matches!(uri.scheme_str(), Some("http" | "https"));
    if !scheme_fits || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err("is not a URL such as https://example.com".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Reads comma-separated URLs, each as [`base_url`] does.
///
/// # Errors
/// As [`base_url`].
pub fn base_urls(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|url| base_url(url.trim())).collect()
}

/// Reads headers as a JSON object of names and values. The values are marked as secrets.
///
/// # Errors
/// Any other text.
pub fn header_map(text: &str) -> Result<HeaderMap, String> {
    let wrong = || "is not a JSON object of header names and values".to_owned();
    let pairs: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|_| wrong())?;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The variables as a table for `--help`.
#[must_use]
pub fn help(title: &str, vars: &[Var]) -> String {
    use fmt::Write as _;
    let mut text = format!("{title}\n");
    for var in vars {
        let mut notes = Vec::new();
        if !var.default.is_empty() {
            notes.push(format!("default {}", var.default));
        }
        if var.secret {
            notes.push(format!("or {}_FILE", var.name));
        }
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!(" [{}]", notes.join("; "))
        };
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {}{notes}\n      {}\n", var.name, var.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Var = Var {
        name: "PORT",
        default: "8000",
        help: "Where to listen.",
        secret: false,
    };
    const KEY: Var = Var {
        name: "KEY",
        default: "",
        help: "A key.",
        secret: true,
    };

    #[test]
    fn errors_name_the_variable_and_the_line() {
        let mut environment = Environment::default();
        environment
            .add_file(Path::new(".env"), "A=1\nPORT=many\n")
            .expect("parses");
        let error = environment
            .required(&PORT, parsed::<u16>("a port"))
            .expect_err("not a number");
        assert_eq!(
            error.to_string(),
            "PORT (line 2 of .env): \"many\" is not a port"
        );
        assert_eq!(environment.unknown(&[&[PORT]])[0].0, "A");
    }

    #[test]
    fn secrets_come_from_files_and_are_not_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "planted\n").expect("written");
        let environment = Environment::of([("KEY_FILE", path.to_string_lossy())]);
        let (value, _) = environment.raw(&KEY).expect("readable").expect("set");
        assert_eq!(value, "planted");
        let error = environment
            .read(&KEY, |_| Err::<(), _>("is wrong".to_owned()))
            .expect_err("refused");
        assert!(!error.to_string().contains("planted"));
        assert!(!format!("{environment:?}").contains("planted"));
        std::fs::write(&path, " \n").expect("written");
        assert!(environment.raw(&KEY).is_err(), "an empty file is no secret");
        let blank = Environment::of([("KEY", " ")]);
        assert!(blank.raw(&KEY).expect("readable").is_none());
        let both = Environment::of([("KEY", "a".to_owned()), ("KEY_FILE", "b".to_owned())]);
        assert!(both.raw(&KEY).is_err());
    }

    #[test]
    fn units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "-1s", "1y", "s", "1e400", "nan", "999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("32MiB"), Ok(32 << 20));
        assert!(bytes("99999999999GiB").is_err());
        assert_eq!(base_url("https://a/b/"), Ok("https://a/b".to_owned()));
        for wrong in ["a", "ftp://a", "http://", "https://a?b"] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }
}
