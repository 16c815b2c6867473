//! Both READMEs tell the same: the same sections in the same order, every command and
//! code block byte for byte, tables of the same shape, the same places linked to.

use std::{collections::BTreeSet, fs, path::PathBuf};

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

fn read(file: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// What two languages have to share of a README.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    /// The levels of the headings.
    headings: Vec<usize>,
    /// The blocks between fences, with their languages and the comments before them.
    blocks: Vec<String>,
    /// Of each row of a table: the cells that are code, which no language changes.
    rows: Vec<Vec<String>>,
    /// What is linked to, as often as it is.
    links: Vec<String>,
}

/// What a line links to, but for the other README.
fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1);
    let targets = targets.map(|rest| rest.split_once(')').unwrap().0);
    let own = targets.filter(|target| ![ENGLISH, CHINESE].contains(target));
    own.map(str::to_owned).collect()
}

fn shape(text: &str) -> Shape {
    let mut shape = Shape::default();
    let mut block: Option<String> = None;
    let mut before = "";
    for line in text.lines() {
        if let Some(open) = &mut block {
            open.push_str(line);
            open.push('\n');
            if line == "```" {
                shape.blocks.extend(block.take());
            }
        } else if line.starts_with("```") {
            block = Some(format!("{before}\n{line}\n"));
        } else if line.starts_with('#') {
            shape
                .headings
                .push(line.chars().take_while(|c| *c == '#').count());
        } else if let Some(row) = line.strip_prefix('|') {
            let cells = row.trim_end_matches('|').split(" | ");
            let is_code = |cell: &&str| cell.starts_with('`') && cell.ends_with('`');
            let code = cells.map(str::trim).filter(is_code);
            shape
                .rows
                .push(code.map(|cell| cell.replace('、', ", ")).collect());
        }
        if block.is_none() {
            shape.links.extend(links(line));
        }
        before = if line.starts_with("<!-- run:") {
            line
        } else {
            ""
        };
    }
    assert_eq!(block, None, "a block without an end");
    shape.links.sort();
    shape
}

#[test]
fn both_readmes_tell_the_same() {
    let (english, chinese) = (shape(&read(ENGLISH)), shape(&read(CHINESE)));
    assert!(english.blocks.len() > 10, "{:?}", english.blocks);
    assert_eq!(english, chinese);
}

#[test]
fn each_readme_is_in_its_language() {
    let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    let english = read(ENGLISH);
    let found: Vec<_> = english.lines().filter(|l| l.contains(is_chinese)).collect();
    assert_eq!(found, ["[中文](README.zh-CN.md)"]);
    // A section that nobody translated has its English heading still.
    let chinese = read(CHINESE);
    let mut fenced = false;
    for line in chinese.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with("## ") {
            assert!(line.contains(is_chinese), "{line}");
        }
    }
}

#[test]
fn what_is_linked_to_is_there() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![ENGLISH.to_owned(), CHINESE.to_owned()];
    for entry in fs::read_dir(top.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            documents.push(format!("docs/{name}"));
        }
    }
    let mut seen = BTreeSet::new();
    for document in documents {
        let place = top.join(&document);
        for link in shape(&read(&document)).links {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file {
                "" => place.clone(),
                file => place.parent().unwrap().join(file),
            };
            assert!(path.exists(), "{document} links to {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&path).unwrap();
                let heading = |line: &str| line.trim_start_matches('#').trim().to_lowercase();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let anchors = headings.map(|line| heading(line).replace(' ', "-"));
                assert!(
                    anchors.into_iter().any(|a| a == anchor),
                    "{document}: {link}"
                );
            }
            seen.insert(link);
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}
