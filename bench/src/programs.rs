//! Where the programs come from: a folder that is named, or a release build beside this one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::rig::Programs;

const PACKAGES: [&str; 3] = ["fake-google", "token-service", "gateway"];

/// Finds the programs, after a release build of them when no folder is named. The build
/// tells its progress on standard error.
pub(crate) fn find(folder: Option<&Path>, beside: Option<String>) -> anyhow::Result<Programs> {
    let bench = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = match folder {
        Some(folder) => folder
            .canonicalize()
            .with_context(|| format!("no folder {}", folder.display()))?,
        None => build(&bench)?,
    };
    let program = |name: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        ensure!(path.is_file(), "there is no {}", path.display());
        Ok(path)
    };
    let [fake_google, token_service, gateway] = PACKAGES;
    Ok(Programs {
        fake_google: program(fake_google)?,
        token_service: program(token_service)?,
        gateway: program(gateway)?,
        bench,
        beside,
    })
}

fn build(bench: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]);
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let status = command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("cannot run cargo; --bin-dir names programs that are built already")?;
    ensure!(status.success(), "the programs do not build");
    // target/release/bench, or target/debug/bench.
    let target = bench
        .ancestors()
        .nth(2)
        .context("no folder above this program")?;
    Ok(target.join("release"))
}
