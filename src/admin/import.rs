//! `import`: a tokens file or a sealed export into the pool, and what became of each
//! entry.

use antigravity_proto::v1::{
    ImportProjectsRequest,
    import_projects_request::{Options, Payload},
};
use antigravity_runtime::config::Environment;
use comfy_table::Cell;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::{Purpose, client, files::Source, view, with_client};
use crate::{failure::Failure, table, terminal};

/// What the contract takes of all pieces together.
const MAX_FILE: u64 = 64 << 20;
/// Well below the limit of a message.
const PIECE: usize = 1 << 20;
/// How a sealed export begins.
const SEALED: &[u8] = b"AGEXPRT";

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A tokens file ({"oauth_config": {...}, "projects": [...]}) or a sealed export;
    /// - reads standard input.
    file: Source,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take over entries also when they were imported before and not edited since.
    #[arg(long)]
    overwrite: bool,
    /// A file with the passphrase of a sealed export; - reads standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<Source>,
    /// Print JSON: {"dry_run", "created", "updated", "unchanged", "rejected", "entries":
    /// [{"line", "id", "result", "message"}]}.
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
    entries: Vec<view::Imported>,
}

/// Imports, and reports.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    let file = arguments.file.to_string();
    let bytes = arguments.file.read(MAX_FILE)?;
    let pieces = pieces(&arguments, &bytes)?;
    let purpose = if arguments.dry_run {
        Purpose::Read
    } else {
        Purpose::Write
    };
    let entries = with_client(environment, purpose, async |client| {
        client
            .import_projects(pieces)
            .await
            .map_err(|error| of_file(error, &file))
    })
    .await?;
    let report = report(entries, arguments.dry_run);
    if arguments.json {
        view::print_json(&report)?;
    } else {
        print(&report, &file);
    }
    match report.rejected {
        0 => Ok(()),
        1 => Err(Failure::Found(
            "one entry was rejected; the others count".to_owned(),
        )),
        more => Err(Failure::Found(format!(
            "{more} entries were rejected; the others count"
        ))),
    }
}

fn pieces(arguments: &Arguments, bytes: &[u8]) -> Result<Vec<ImportProjectsRequest>, Failure> {
    let sealed = bytes.starts_with(SEALED);
    let passphrase = match (&arguments.passphrase_file, sealed) {
        (Some(_), false) => {
            return Err(Failure::Usage(format!(
                "{} is not a sealed export; leave --passphrase-file away",
                arguments.file
            )));
        }
        (None, true) => {
            return Err(Failure::Usage(format!(
                "{} is a sealed export; give the file with its passphrase as --passphrase-file",
                arguments.file
            )));
        }
        (Some(Source::Stdin), true) if matches!(arguments.file, Source::Stdin) => {
            return Err(Failure::Usage(
                "only one of FILE and --passphrase-file can be standard input".to_owned(),
            ));
        }
        (Some(source), true) => Some(source.read_secret("passphrase")?),
        (None, false) => None,
    };
    let options = Options {
        passphrase: passphrase
            .map(|passphrase| passphrase.expose_secret().to_owned())
            .unwrap_or_default(),
        overwrite: arguments.overwrite,
        dry_run: arguments.dry_run,
        ..Default::default()
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
    Ok(std::iter::once(Payload::Options(options))
        .chain(payloads)
        .map(|payload| ImportProjectsRequest {
            payload: Some(payload),
        })
        .collect())
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

fn report(entries: Vec<antigravity_proto::v1::ImportProjectsResponse>, dry_run: bool) -> Report {
    let mut report = Report {
        dry_run,
        ..Default::default()
    };
    for entry in entries {
        let entry = view::Imported::from(entry);
        // A remark about the file is no entry that could be unchanged.
        let remark = entry.id.is_none() && entry.result == "unchanged";
        match entry.result {
            "created" => report.created += 1,
            "updated" => report.updated += 1,
            "rejected" => report.rejected += 1,
            "unchanged" if !remark => report.unchanged += 1,
            _ => {}
        }
        report.entries.push(entry);
    }
    report
}

fn print(report: &Report, file: &str) {
    if !report.entries.is_empty() {
        let mut table = table::table(&["LINE", "PROJECT", "RESULT", "MESSAGE"]);
        for entry in &report.entries {
            table.add_row([
                Cell::new(entry.line),
                Cell::new(entry.id.as_deref().unwrap_or("-")),
                table::state(entry.result),
                Cell::new(entry.message.as_deref().unwrap_or("")),
            ]);
        }
        table::print(&table);
        terminal::line("");
    }
    let Report {
        created,
        updated,
        unchanged,
        rejected,
        ..
    } = report;
    let done = if report.dry_run {
        "would be imported"
    } else {
        "imported"
    };
    terminal::line(format!(
        "{file} {done}: {created} created, {updated} updated, {unchanged} unchanged, \
         {rejected} rejected"
    ));
}
