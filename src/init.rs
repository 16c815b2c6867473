//! `init`: makes what a first start would make, for services that run apart, such as
//! containers: everything is in its place, and in the hands of who runs them, before
//! the first of them starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use antigravity_runtime::{config::Environment, secret, variables::GATEWAY_TOKEN_FILE};
use gateway::config::API_KEY_FILE;
use secrecy::{ExposeSecret as _, SecretString};
use token_service::Secrets;

use crate::{
    failure::Failure,
    stack::{self, Configs},
    terminal,
};

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for what gateways on their own need: gateway_token, and api_key when API_KEYS
    /// is not set.
    #[arg(long, value_name = "FOLDER")]
    gateway_folder: Option<PathBuf>,
    /// Tokens file to copy to TOKENS_FILE, where the token-service imports it. When it is not
    /// there, neither is the copy afterwards.
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Give the folders, and the files in them, to this user and group; needs root.
    #[arg(long, value_name = "UID:GID")]
    owner: Option<Owner>,
}

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "two numbers such as 65532:65532 are needed";
        let (user, group) = text.split_once(':').ok_or(wrong)?;
        match (user.parse(), group.parse()) {
            (Ok(user), Ok(group)) => Ok(Self { user, group }),
            _ => Err(wrong),
        }
    }
}

/// Makes what is missing, and says what it made.
pub(crate) fn run(environment: &Environment, arguments: &Arguments) -> Result<(), Failure> {
    let configs = Configs::from_environment(environment)?;
    let config = &configs.token_service;
    let Some(folder) = config.database.folder() else {
        return Err(stack::no_folder(&config.database));
    };
    let secrets = Secrets::load_or_create(config)?;
    let mut made = secrets.created;
    let mut api_key = None;
    if configs.own_api_key {
        let file = stack::api_key_file(folder)?;
        if file.created {
            made.push(file.path);
        }
        api_key = Some(file.secret);
    }
    for path in made {
        terminal::line(format!("made {}", path.display()));
    }
    if let Some(gateway) = &arguments.gateway_folder {
        secret::create_folder(gateway).map_err(cannot("make", gateway))?;
        keep(
            &gateway.join(GATEWAY_TOKEN_FILE),
            Some(&secrets.gateway_token),
        )?;
        keep(&gateway.join(API_KEY_FILE), api_key.as_ref())?;
    }
    if let (Some(file), Some(place)) = (&arguments.tokens_file, &config.tokens_file) {
        copy(file, &place.path)?;
    }
    if let Some(owner) = arguments.owner {
        give(folder, owner)?;
        if let Some(gateway) = &arguments.gateway_folder {
            give(gateway, owner)?;
        }
    }
    terminal::line("All secrets are in their places.");
    if api_key.is_some() {
        terminal::line("`antigravity-gateway secret api_key` prints the key for clients.");
    }
    Ok(())
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File {
        action,
        path,
        source,
    }
}

/// Makes `path` hold `secret`, or nothing.
fn keep(path: &Path, secret: Option<&SecretString>) -> Result<(), Failure> {
    match secret {
        Some(secret) => {
            let text = format!("{}\n", secret.expose_secret());
            secret::replace(path, text.as_bytes()).map_err(cannot("write", path))
        }
        None => remove(path),
    }
}

/// Makes `place` the copy of `file`.
fn copy(file: &Path, place: &Path) -> Result<(), Failure> {
    match fs::read(file) {
        Ok(bytes) => {
            secret::replace(place, &bytes).map_err(cannot("write", place))?;
            terminal::line(format!("copied {} to {}", file.display(), place.display()));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            terminal::line(format!(
                "there is no {}: add projects with `antigravity-gateway import` or `projects add`",
                file.display()
            ));
            remove(place)
        }
        Err(source) => Err(cannot("read", file)(source)),
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Gives `folder`, and what is directly in it, to `owner`. A file that was restored from
/// a backup is given along with the others.
fn give(folder: &Path, owner: Owner) -> Result<(), Failure> {
    let give = |path: &Path| {
        // Not what a link points to, which may be anybody's.
        std::os::unix::fs::lchown(path, Some(owner.user), Some(owner.group))
            .map_err(cannot("give away", path))
    };
    for entry in fs::read_dir(folder).map_err(cannot("list", folder))? {
        give(&entry.map_err(cannot("list", folder))?.path())?;
    }
    give(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers() {
        let owner = Owner {
            user: 1000,
            group: 65532,
        };
        assert_eq!("1000:65532".parse(), Ok(owner));
        for wrong in ["", "1000", "nobody:nobody", "1:", ":1", "-1:1", "1:2:3"] {
            assert!(wrong.parse::<Owner>().is_err(), "{wrong}");
        }
    }
}
