//! The log's files: readable by their owner alone, each of a limited size, the oldest deleted
//! before all of them take more than they may.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::Settings;
use crate::new_id;

const BEGINS: &str = "requests-";
const ENDS: &str = ".jsonl";

/// The files of one folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    most: u64,
    budget: u64,
    /// The one that is written to, and its length.
    current: Option<(File, PathBuf, u64)>,
}

impl Files {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            folder: settings.folder.clone(),
            most: settings.file_bytes,
            budget: settings.budget,
            current: None,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The longest that a file gets.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Sees to it that there is a file to write to.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        if self.current.is_none() {
            self.begin()?;
        }
        Ok(())
    }

    /// Writes a line whole, or nothing of it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = line.len() as u64;
        // Somebody may have tidied up.
        let gone = |(_, path, _): &(File, PathBuf, u64)| !path.exists();
        let full =
            |(_, _, length): &(File, PathBuf, u64)| *length > 0 && length + bytes > self.most;
        if self
            .current
            .as_ref()
            .is_none_or(|current| gone(current) || full(current))
        {
            self.begin()?;
        }
        let Some((file, _, length)) = &mut self.current else {
            return Err(io::Error::other("there is no file"));
        };
        match file.write_all(line) {
            Ok(()) => {
                *length += bytes;
                Ok(())
            }
            Err(error) => {
                // What there was room for is no line. Where that cannot be undone either, the
                // next line begins a file of its own.
                if file.set_len(*length).is_err() {
                    self.current = None;
                }
                Err(error)
            }
        }
    }

    /// Begins a file, when there is room for all that it may get.
    fn begin(&mut self) -> io::Result<()> {
        self.current = None;
        let mut folder = DirBuilder::new();
        folder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&self.folder)?;
        self.make_room()?;
        // In the order of their names they are in the order of their times.
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%S.%6f");
        let name = format!(
            "{BEGINS}{now}Z-{}{ENDS}",
            &new_id().simple().to_string()[..8]
        );
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        self.current = Some((file, path, 0));
        Ok(())
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_ours = |name: &str| name.starts_with(BEGINS) && name.ends_with(ENDS);
            if name.to_str().is_some_and(is_ours)
                && let Ok(about) = entry.metadata()
                && about.is_file()
            {
                files.push((entry.path(), about.len()));
            }
        }
        files.sort();
        let mut taken: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        for (path, bytes) in files {
            if taken + self.most <= self.budget {
                break;
            }
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            taken -= bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<(String, u64)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, entry.metadata().unwrap().len())
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn files_are_limited_and_the_oldest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "somebody's").unwrap();
        let mut log = Files::new(&Settings {
            folder: folder.path().to_owned(),
            bodies: false,
            file_bytes: 100,
            budget: 350,
        });
        let mut first = None;
        for nth in 0..40 {
            log.append(format!("{nth:0>29}\n").as_bytes()).unwrap();
            let all = files(folder.path());
            first.get_or_insert_with(|| all[1].0.clone());
            let ours = all.iter().filter(|(name, _)| name != "notes.txt");
            assert!(ours.clone().all(|(_, bytes)| *bytes <= 100));
            assert!(ours.map(|(_, bytes)| bytes).sum::<u64>() <= 350);
        }
        let all = files(folder.path());
        assert!(all.iter().any(|(name, _)| name == "notes.txt"));
        assert!(!all.iter().any(|(name, _)| Some(name) == first.as_ref()));
        let last = &all.iter().rfind(|(name, _)| name != "notes.txt").unwrap().0;
        let last = fs::read_to_string(folder.path().join(last)).unwrap();
        assert!(last.ends_with("39\n"), "{last}");
    }

    #[cfg(unix)]
    #[test]
    fn only_their_owner_reads_them_and_who_takes_them_away_gets_new_ones() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Files::new(&Settings {
            folder: path.clone(),
            bodies: false,
            file_bytes: 100,
            budget: 100,
        });
        log.append(b"1\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(&files(&path)[0].0)), 0o600);
        fs::remove_dir_all(&path).unwrap();
        log.append(b"2\n").unwrap();
        let name = &files(&path)[0].0;
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "2\n");
    }
}
