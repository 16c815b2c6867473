//! The variables as `--help` tells them, and as the README's table does. The tests of
//! each binary include this file.

use std::{collections::BTreeMap, fs, path::PathBuf};

/// What is told of a variable.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Its default; empty when it has none.
    default: String,
    /// Whether `<NAME>_FILE` may name a file that holds it.
    in_file: bool,
    /// What it does.
    help: String,
}

/// Reads what follows "Environment variables" of a `--help`.
fn in_help(help: &str) -> BTreeMap<String, Told> {
    let (_, list) = help.split_once("Environment variables").unwrap();
    let mut found: BTreeMap<String, Told> = BTreeMap::new();
    let mut name = String::new();
    let mut lines = list.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        // A long default goes on in the next line.
        let is_name = !line.starts_with("      ");
        while is_name && line.contains(" [") && !line.ends_with(']') {
            line.push(' ');
            line.push_str(lines.next().unwrap().trim());
        }
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(text) = line.strip_prefix("      ") {
            let told = found.get_mut(&name).unwrap();
            let space = if told.help.is_empty() { "" } else { " " };
            told.help.push_str(&format!("{space}{}", text.trim()));
        } else if let (Some(first), true) = (words.first(), line.starts_with("  ")) {
            name = (*first).to_owned();
            let notes = line.split_once('[').map_or("", |(_, notes)| notes);
            let notes: Vec<_> = notes.trim_end_matches(']').split("; ").collect();
            let default = notes.iter().find_map(|note| note.strip_prefix("default "));
            let told = Told {
                default: default.unwrap_or_default().to_owned(),
                in_file: notes.contains(&format!("or {name}_FILE").as_str()),
                help: String::new(),
            };
            let twice = found.insert(name.clone(), told);
            assert!(twice.is_none(), "{name} is told twice");
        }
    }
    assert!(!found.is_empty(), "{help}");
    found
}

/// Reads the parts of the README's configuration table that have these titles.
fn in_readme(titles: &[&str]) -> BTreeMap<String, Told> {
    // From the crate at the top, and from those below it.
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut folders = here.ancestors();
    let readme = folders.find_map(|folder| fs::read_to_string(folder.join("README.md")).ok());
    let readme = readme.unwrap();
    let (_, table) = readme.split_once("<!-- variables: begin -->").unwrap();
    let (table, _) = table.split_once("<!-- variables: end -->").unwrap();
    let mut found = BTreeMap::new();
    let mut wanted = false;
    for row in table.lines().filter_map(|line| line.strip_prefix("| ")) {
        let row = row.strip_suffix('|').unwrap_or(row);
        let cells: Vec<_> = row.splitn(3, '|').collect();
        let [names, default, help] = cells[..] else {
            panic!("{row}");
        };
        if !names.starts_with('`') {
            wanted = titles.contains(&names.trim()) || (wanted && names.starts_with("---"));
            continue;
        }
        if !wanted {
            continue;
        }
        let names: Vec<_> = names
            .trim()
            .split(", ")
            .map(|n| n.trim_matches('`'))
            .collect();
        let told = Told {
            default: default.trim().replace("`, `", ",").replace('`', ""),
            in_file: names.get(1) == Some(&format!("{}_FILE", names[0]).as_str()),
            help: help.trim().replace("\\|", "|"),
        };
        assert!(names.len() == 1 || told.in_file, "{row}");
        found.insert(names[0].to_owned(), told);
    }
    assert!(found.len() > 3, "{titles:?}: {found:?}");
    found
}

/// Says which variable differs.
#[track_caller]
pub(crate) fn hold(help: &str, titles: &[&str]) {
    let (told, table) = (in_help(help), in_readme(titles));
    let names = |map: &BTreeMap<String, Told>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&told), names(&table));
    for (name, told) in told {
        assert_eq!(Some(&told), table.get(&name), "{name}");
    }
}
