//! `export`: the whole pool, refresh tokens included, sealed with a passphrase.

use std::path::{Path, PathBuf};

use antigravity_runtime::config::Environment;
use serde::Serialize;

use super::{
    Purpose,
    files::{Draft, Source},
    view, with_client,
};
use crate::{failure::Failure, terminal};

/// What `export` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write the sealed export (mode 0600).
    file: PathBuf,
    /// A file with the passphrase, 12 characters or more; - reads standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Source,
    /// Only this project; may be repeated. Default: all.
    #[arg(long = "project", value_name = "ID")]
    projects: Vec<String>,
    /// Replace FILE when it is there.
    #[arg(long)]
    force: bool,
    /// Print JSON: {"file", "bytes"}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    bytes: usize,
}

/// Exports.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        file,
        passphrase_file,
        projects,
        force,
        json,
    } = arguments;
    let mut draft = Draft::beside(&file, force)?;
    let passphrase = passphrase_file.read_secret("passphrase")?;
    let sealed = with_client(environment, Purpose::Read, async |client| {
        if client.count_projects().await? == 0 {
            return Err(Failure::Found("there is no project to export".to_owned()));
        }
        Ok(client.export_projects(&passphrase, projects).await?)
    })
    .await?;
    draft.write(&sealed)?;
    draft.keep()?;
    if json {
        return view::print_json(&Report {
            file: &file,
            bytes: sealed.len(),
        });
    }
    terminal::line(format!(
        "{} holds the pool, sealed; take it over elsewhere with `antigravity-gateway import {} \
         --passphrase-file FILE`",
        file.display(),
        file.display()
    ));
    Ok(())
}
