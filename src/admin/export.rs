//! `export`: the whole pool, refresh tokens included, sealed with a passphrase.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use antigravity_runtime::config::Environment;
use serde::Serialize;

use super::{Purpose, files::Source, view, with_client};
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
    if file.exists() && !force {
        return Err(Failure::Usage(format!(
            "{} is there already; give another name, or --force to replace it",
            file.display()
        )));
    }
    let passphrase = passphrase_file.read_secret("passphrase")?;
    let sealed = with_client(environment, Purpose::Read, async |client| {
        if client.count_projects().await? == 0 {
            return Err(Failure::Found("there is no project to export".to_owned()));
        }
        Ok(client.export_projects(&passphrase, projects).await?)
    })
    .await?;
    write(&file, &sealed, force).map_err(|source| Failure::File {
        action: "write",
        path: file.clone(),
        source,
    })?;
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

/// Writes whole beside its place first, so that a full disk costs no older export.
fn write(path: &Path, sealed: &[u8], replace: bool) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Made with mode 0600.
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(sealed)?;
    draft.as_file().sync_all()?;
    if replace {
        draft.persist(path)?;
    } else {
        draft.persist_noclobber(path)?;
    }
    Ok(())
}
