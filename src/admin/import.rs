//! `import`: tokens files, sealed exports and the credential files of other programs into
//! the pool, and what became of each entry.

use std::{
    io,
    path::{Path, PathBuf},
};

use antigravity_proto::v1::{
    self, ImportProjectsRequest,
    import_projects_request::{Options, Payload},
};
use antigravity_runtime::config::Environment;
use comfy_table::Cell;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{Purpose, client, files::Source, projects::Upstream, view, with_client};
use crate::{failure::Failure, progress::Progress, table, terminal};

/// What the contract takes of all pieces together.
const MAX_FILE: u64 = 64 << 20;
/// Well below the limit of a message.
const PIECE: usize = 1 << 20;
/// How a sealed export begins.
const SEALED: &[u8] = b"AGEXPRT";
/// Rows of entries that went well; of more, their number is enough.
const MAX_ROWS: usize = 50;

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tokens files ({"oauth_config": {...}, "projects": [...]}), sealed exports, credential
    /// files of other programs, or folders of them (*.json); - reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Source>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take over entries also when they were imported before and not edited since.
    #[arg(long)]
    overwrite: bool,
    /// A file with the passphrase of a sealed export; - reads standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<Source>,
    /// The Google Cloud project id of accounts in other programs' files that name none.
    #[arg(long, value_name = "PROJECT_ID")]
    project: Option<String>,
    /// The OAuth client of accounts that name none. Default: the only one there is.
    #[arg(long, value_name = "CLIENT_ID")]
    oauth_client: Option<String>,
    /// Which Google API serves those that do not say. Default: DEFAULT_UPSTREAM; of other
    /// programs' files, what is usual for them.
    #[arg(long, value_enum)]
    upstream: Option<Upstream>,
    /// Print JSON: {"dry_run", "created", "updated", "unchanged", "rejected", "files":
    /// [{"file", "format", "error"}], "entries": [{"file", "line", "id", "result",
    /// "message"}]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    created: usize,
    updated: usize,
    unchanged: usize,
    rejected: usize,
    files: Vec<File>,
    entries: Vec<view::Imported>,
}

/// A file, and what it was recognised as.
#[derive(Debug, Serialize)]
struct File {
    file: String,
    format: Option<&'static str>,
    error: Option<String>,
}

/// Imports, and reports.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    let files = expanded(&arguments.files)?;
    let mut read = Vec::with_capacity(files.len());
    for file in &files {
        read.push((file.to_string(), file.read(MAX_FILE)?));
    }
    let passphrase = passphrase(&arguments, &read)?;
    let purpose = if arguments.dry_run {
        Purpose::Read
    } else {
        Purpose::Write
    };
    let only = read.len() == 1;
    let report = with_client(environment, purpose, async |client| {
        let mut report = Report {
            dry_run: arguments.dry_run,
            ..Default::default()
        };
        for (file, bytes) in &read {
            let pieces = pieces(&arguments, bytes, passphrase.as_ref());
            let mut progress = Progress::of(format!("importing {file}"));
            let answers = client
                .import_projects(pieces, |written, total| {
                    progress.is_at(written.into(), total.into());
                })
                .await;
            drop(progress);
            match answers.map_err(|error| of_file(error, file)) {
                Ok(answers) => report.add(file, answers),
                // One of several that cannot be read is told with the others.
                Err(Failure::Import { problem, .. }) if !only => report.files.push(File {
                    file: file.clone(),
                    format: None,
                    error: Some(problem),
                }),
                Err(failure) => return Err(failure),
            }
        }
        Ok(report)
    })
    .await?;
    if arguments.json {
        view::print_json(&report)?;
    } else {
        report.print();
    }
    report.verdict()
}

/// Folders are the JSON files in them, in the order of their names.
fn expanded(sources: &[Source]) -> Result<Vec<Source>, Failure> {
    let mut files = Vec::new();
    for source in sources {
        match source {
            Source::File(folder) if folder.is_dir() => {
                let found = json_files(folder).map_err(|source| Failure::File {
                    action: "read",
                    path: folder.clone(),
                    source,
                })?;
                if found.is_empty() {
                    return Err(Failure::Usage(format!(
                        "there is no *.json in the folder {}",
                        folder.display()
                    )));
                }
                files.extend(found.into_iter().map(Source::File));
            }
            other => files.push(other.clone()),
        }
    }
    let stdin = files.iter().filter(|file| matches!(file, Source::Stdin));
    if stdin.count() > 1 {
        return Err(Failure::Usage(
            "only one of the files can be standard input".to_owned(),
        ));
    }
    Ok(files)
}

fn json_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The passphrase, where one of the files needs it.
fn passphrase(
    arguments: &Arguments,
    files: &[(String, Vec<u8>)],
) -> Result<Option<SecretString>, Failure> {
    let sealed = files.iter().find(|(_, bytes)| bytes.starts_with(SEALED));
    match (&arguments.passphrase_file, sealed) {
        (Some(_), None) => {
            let (is, are) = match files {
                [(file, _)] => (file.as_str(), "is not a sealed export"),
                _ => ("none of the files", "is a sealed export"),
            };
            Err(Failure::Usage(format!(
                "{is} {are}; leave --passphrase-file away"
            )))
        }
        (None, Some((file, _))) => Err(Failure::Usage(format!(
            "{file} is a sealed export; give the file with its passphrase as --passphrase-file"
        ))),
        (Some(Source::Stdin), Some(_))
            if arguments
                .files
                .iter()
                .any(|file| matches!(file, Source::Stdin)) =>
        {
            Err(Failure::Usage(
                "only one of FILE and --passphrase-file can be standard input".to_owned(),
            ))
        }
        (Some(source), Some(_)) => Ok(Some(source.read_secret("passphrase")?)),
        (None, None) => Ok(None),
    }
}

fn pieces(
    arguments: &Arguments,
    bytes: &[u8],
    passphrase: Option<&SecretString>,
) -> Vec<ImportProjectsRequest> {
    let sealed = bytes.starts_with(SEALED);
    let passphrase = passphrase.filter(|_| sealed);
    let upstream = arguments.upstream.map(v1::Upstream::from);
    let options = Options {
        passphrase: passphrase
            .map(|passphrase| passphrase.expose_secret().to_owned())
            .unwrap_or_default(),
        overwrite: arguments.overwrite,
        dry_run: arguments.dry_run,
        default_upstream: upstream.unwrap_or_default().into(),
        default_oauth_client_id: arguments.oauth_client.clone().unwrap_or_default(),
        default_google_project_id: arguments.project.clone().unwrap_or_default(),
        progress: true,
    };
    // An empty file is one empty piece, so that the service says what it lacks.
    let mut chunks: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let payloads = chunks.into_iter().map(|piece| match sealed {
        true => Payload::SealedExport(piece.to_vec()),
        false => Payload::TokensJson(piece.to_vec()),
    });
    std::iter::once(Payload::Options(options))
        .chain(payloads)
        .map(|payload| ImportProjectsRequest {
            payload: Some(payload),
        })
        .collect()
}

/// The service knows the file as a field of the request; people know it by its name.
fn of_file(error: client::Error, file: &str) -> Failure {
    if let client::Error::Refused(status) = &error {
        for field in ["tokens_json ", "sealed_export "] {
            if let Some(problem) = status.message().strip_prefix(field) {
                return Failure::Import {
                    file: file.to_owned(),
                    problem: problem.to_owned(),
                };
            }
        }
    }
    error.into()
}

impl Report {
    fn add(&mut self, file: &str, answers: Vec<v1::ImportProjectsResponse>) {
        let format = answers.first().map(|answer| answer.format());
        self.files.push(File {
            file: file.to_owned(),
            format: format.map(view::format_name),
            error: None,
        });
        for answer in answers {
            let entry = view::Imported::of(file, answer);
            // A remark about the file is no entry that could be unchanged.
            let remark = entry.id.is_none() && entry.result == "unchanged";
            match entry.result {
                "created" => self.created += 1,
                "updated" => self.updated += 1,
                "rejected" => self.rejected += 1,
                "unchanged" if !remark => self.unchanged += 1,
                _ => {}
            }
            self.entries.push(entry);
        }
    }

    fn print(&self) {
        let several = self.files.len() > 1;
        for file in &self.files {
            match (&file.format, &file.error) {
                (_, Some(error)) => terminal::line(format!("{}: {error}", file.file)),
                (Some(format), None) => terminal::line(format!("{}: {format}", file.file)),
                (None, None) => terminal::line(format!("{}: nothing in it", file.file)),
            }
        }
        terminal::line("");
        // Of many entries those are shown that somebody has to look at.
        let all = self.entries.len() <= MAX_ROWS;
        let shown: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| all || entry.result == "rejected" || entry.message.is_some())
            .collect();
        if !shown.is_empty() {
            let place: &[&str] = if several { &["FILE"] } else { &[] };
            let headings = [place, &["LINE", "PROJECT", "RESULT", "MESSAGE"]].concat();
            let mut table = table::table(&headings);
            for entry in shown {
                let place = several.then(|| Cell::new(&entry.file));
                let cells = [
                    Cell::new(entry.line),
                    Cell::new(entry.id.as_deref().unwrap_or("-")),
                    table::state(entry.result),
                    Cell::new(entry.message.as_deref().unwrap_or("")),
                ];
                table.add_row(place.into_iter().chain(cells));
            }
            table::print(&table);
            terminal::line("");
        }
        let Self {
            created,
            updated,
            unchanged,
            rejected,
            ..
        } = self;
        let done = if self.dry_run {
            "would be imported"
        } else {
            "imported"
        };
        let what = match &*self.files {
            [file] => file.file.clone(),
            files => format!("{} files", files.len()),
        };
        terminal::line(format!(
            "{what} {done}: {created} created, {updated} updated, {unchanged} unchanged, \
             {rejected} rejected"
        ));
    }

    fn verdict(&self) -> Result<(), Failure> {
        let unread = self.files.iter().filter(|file| file.error.is_some());
        match (unread.count(), self.rejected) {
            (0, 0) => Ok(()),
            (0, 1) => Err(Failure::Found(
                "one entry was rejected; the others count".to_owned(),
            )),
            (0, more) => Err(Failure::Found(format!(
                "{more} entries were rejected; the others count"
            ))),
            (files, _) => Err(Failure::Found(format!(
                "{files} of the files cannot be imported; the others count"
            ))),
        }
    }
}
