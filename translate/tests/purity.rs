//! The translation does no I/O and reads no clock: held here, on its manifest and its
//! sources.

use std::{fs, path::Path};

/// What the crate may be built from: none of it does I/O.
const ALLOWED: [&str; 7] = [
    "base64",
    "bytes",
    "memchr",
    "serde",
    "serde_json",
    "thiserror",
    "wide",
];

#[test]
fn it_depends_on_nothing_that_does_io() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies: Vec<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(!dependencies.is_empty());
    for name in dependencies {
        assert!(ALLOWED.contains(&name), "{name} is not among {ALLOWED:?}");
    }
}

#[test]
fn it_reads_no_clock_file_or_socket() {
    fn scan(folder: &Path, seen: &mut usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                scan(&path, seen);
                continue;
            }
            *seen += 1;
            let source = fs::read_to_string(&path).unwrap();
            for forbidden in [
                "std::time",
                "std::fs",
                "std::net",
                "std::env",
                "std::thread",
                "std::io",
                "rand::",
                "uuid::",
            ] {
                assert!(
                    !source.contains(forbidden),
                    "{} has {forbidden}",
                    path.display()
                );
            }
        }
    }
    let mut seen = 0;
    scan(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut seen,
    );
    assert!(seen > 10, "{seen} files");
}
