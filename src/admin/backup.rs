//! `backup` and `restore`: all that the token-service keeps, in one file.

use std::path::{Path, PathBuf};

use antigravity_runtime::config::Environment;
use serde::Serialize;

use super::{
    Purpose,
    files::{Draft, Source},
    projects::confirm,
    view, with_client,
};
use crate::{failure::Failure, terminal};

/// The largest backup that is restored.
const MAX_BACKUP: u64 = 1 << 30;

/// What `backup` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// Where to write the backup (mode 0600).
    file: PathBuf,
    /// Replace FILE when it is there.
    #[arg(long)]
    force: bool,
    /// Print JSON: {"file", "bytes", "key_ids"}.
    #[arg(long)]
    json: bool,
}

/// What `restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// A file that `backup` wrote; - reads standard input.
    file: Source,
    /// The encryption key of the time and place of the backup, if it is another one; -
    /// reads standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<Source>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print JSON: {"projects", "oauth_clients", "replaced_projects", "resealed_values"}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    file: &'a Path,
    bytes: u64,
    key_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Restored {
    projects: u32,
    oauth_clients: u32,
    replaced_projects: u32,
    resealed_values: u32,
}

/// Writes a backup.
pub(crate) async fn back_up(
    environment: &Environment,
    arguments: BackupArguments,
) -> Result<(), Failure> {
    let BackupArguments { file, force, json } = arguments;
    let mut draft = Draft::beside(&file, force)?;
    let keys = with_client(environment, Purpose::Existing, async |client| {
        client.back_up(|piece| draft.write(piece)).await?;
        Ok(client.list_encryption_keys().await?)
    })
    .await?;
    let bytes = draft.keep()?;
    let sealing = keys.keys.into_iter().filter(|key| key.sealed_values > 0);
    let key_ids: Vec<_> = sealing.map(|key| key.id).collect();
    if json {
        return view::print_json(&Written {
            file: &file,
            bytes,
            key_ids,
        });
    }
    terminal::line(format!(
        "{} holds all that is kept ({} KiB). Its secrets are sealed with the encryption key {} \
         ({}), without which it brings no project back: keep that somewhere else.\n\
         Take it back with `antigravity-gateway restore {}`",
        file.display(),
        bytes.div_ceil(1024),
        key_ids.join(" and "),
        keys.origin,
        file.display()
    ));
    Ok(())
}

/// Replaces everything with what a backup holds.
pub(crate) async fn restore(
    environment: &Environment,
    arguments: RestoreArguments,
) -> Result<(), Failure> {
    let RestoreArguments {
        file,
        key_file,
        yes,
        json,
    } = arguments;
    let keys = key_file
        .map(|file| file.read_secret("encryption key"))
        .transpose()?;
    let backup = file.read(MAX_BACKUP)?;
    let restored = with_client(environment, Purpose::Write, async |client| {
        let before = client.count_projects().await?;
        if before > 0 {
            confirm(
                yes,
                &format!(
                    "Replace all that is kept, {} among it, with what {file} holds?",
                    terminal::counted(before, "project")
                ),
            )?;
        }
        Ok(client.restore(backup, keys.as_ref()).await?)
    })
    .await?;
    let restored = Restored {
        projects: restored.projects,
        oauth_clients: restored.oauth_clients,
        replaced_projects: restored.replaced_projects,
        resealed_values: restored.resealed_values,
    };
    if json {
        return view::print_json(&restored);
    }
    terminal::line(format!(
        "{file} is restored: {} and {}, in place of {}. `antigravity-gateway projects list` shows \
         how they are",
        terminal::counted(restored.projects, "project"),
        terminal::counted(restored.oauth_clients, "OAuth client"),
        terminal::counted(restored.replaced_projects, "project")
    ));
    Ok(())
}
