//! The READMEs and .env.example tell every variable, and only those there are, in the
//! words of `--help`. `UPDATE_DOCUMENTS=1 cargo test` rewrites them; what the Chinese
//! README says of each is in variables.zh-CN.json, beside the English that it translates.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use antigravity_runtime::config::Var;
use serde::Deserialize;

use crate::{help_table, support::Folder};

const BEGIN: &str = "<!-- variables: begin -->\n";
const END: &str = "<!-- variables: end -->\n";

/// The variables in the groups of `--help`, each once.
fn groups() -> [(&'static str, Vec<Var>); 3] {
    let gateway = gateway::config::VARS;
    let token_service = token_service::config::VARS;
    let pick = |vars: &[Var], other: &[Var], shared: bool| -> Vec<Var> {
        let is_shared = |var: &&Var| other.iter().any(|theirs| theirs.name == var.name);
        let chosen = vars.iter().filter(|var| is_shared(var) == shared);
        chosen.copied().collect()
    };
    [
        ("Gateway", pick(gateway, token_service, false)),
        ("Token-service", pick(token_service, gateway, false)),
        ("Both", pick(token_service, gateway, true)),
    ]
}

fn name(var: &Var) -> String {
    if var.secret {
        format!("`{}`, `{0}_FILE`", var.name)
    } else {
        format!("`{}`", var.name)
    }
}

fn table(titles: [&str; 3], default: &str, told: impl Fn(&Var) -> String) -> String {
    let mut text = String::new();
    for ((_, vars), title) in groups().iter().zip(titles) {
        let _ = writeln!(text, "| {title} | {default} | |\n| --- | --- | --- |");
        for var in vars {
            let default = match var.default {
                "" => String::new(),
                default => format!("`{}`", default.replace(',', "`, `")),
            };
            let help = told(var).replace('|', "\\|");
            let _ = writeln!(text, "| {} | {default} | {help} |", name(var));
        }
        text.push('\n');
    }
    text
}

/// What a variable's help is in Chinese.
#[derive(Deserialize)]
struct Translation {
    /// The English that was translated.
    of: String,
    zh: String,
}

fn translations() -> BTreeMap<String, Translation> {
    serde_json::from_str(include_str!("variables.zh-CN.json")).unwrap()
}

fn env_example() -> String {
    let mut text = "# Copy this file to .env and take the # away from what you want to change.\n\
                    # The environment goes before this file.\n"
        .to_owned();
    for (title, vars) in groups() {
        let _ = writeln!(text, "\n# ---- {title} ----");
        for var in vars {
            let secret = if var.secret {
                format!(" ({}_FILE may name a file that holds it.)", var.name)
            } else {
                String::new()
            };
            let _ = write!(
                text,
                "\n# {}{secret}\n#{}={}\n",
                var.help, var.name, var.default
            );
        }
    }
    text
}

#[track_caller]
fn hold(file: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "{file} tells other variables than there are; UPDATE_DOCUMENTS=1 cargo test rewrites it"
    );
}

/// Holds the table between the marks of a README.
#[track_caller]
fn hold_table(file: &str, table: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let readme = fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    hold(file, &format!("{before}{BEGIN}{table}{END}{after}"));
}

#[test]
fn the_readme_tells_every_variable() {
    let titles = ["Gateway", "Token-service", "Both"];
    let table = table(titles, "default", |var| var.help.to_owned());
    hold_table("README.md", &table);
}

#[test]
fn the_chinese_readme_tells_every_variable() {
    let translations = translations();
    let table = table(["gateway", "token-service", "两者"], "默认值", |var| {
        let Some(translation) = translations.get(var.name) else {
            panic!("{} is not translated in variables.zh-CN.json", var.name);
        };
        assert_eq!(
            translation.of, var.help,
            "the help of {} has changed since it was translated in variables.zh-CN.json",
            var.name
        );
        translation.zh.clone()
    });
    hold_table("README.zh-CN.md", &table);
    let known: Vec<_> = groups().into_iter().flat_map(|(_, vars)| vars).collect();
    for name in translations.keys() {
        assert!(
            known.iter().any(|var| var.name == name),
            "{name} is no variable"
        );
    }
}

#[test]
fn the_example_tells_every_variable() {
    hold(".env.example", &env_example());
}

#[test]
fn the_example_is_the_defaults() {
    let folder = Folder::new();
    let all = env_example().replace("\n#", "\n").replace("\n ", "\n# ");
    assert!(all.contains("\nHOST=127.0.0.1\n"), "{all}");
    folder.write(".env", &all);
    // A file that is named has to be there.
    folder.write("data/tokens.json", "{\"projects\": []}");
    let done = folder.serve(&[]).end().exits_with(0);
    assert!(
        !done.stderr.contains("is not known here"),
        "{}",
        done.stderr
    );
}

#[test]
fn the_table_is_what_help_tells() {
    let help = Folder::new().run(&["--help"], &[]).exits_with(0);
    help_table::hold(&help.stdout, &["Gateway", "Token-service", "Both"]);
}

#[test]
fn each_command_helps() {
    let folder = Folder::new();
    let help = folder.run(&["--help"], &[]).exits_with(0);
    for command in [
        "serve",
        "demo",
        "login",
        "import",
        "export",
        "projects",
        "oauth-clients",
        "init",
        "secret",
        "healthcheck",
    ] {
        help.says(&format!("\n  {command}"));
        let own = folder.run(&[command, "--help"], &[]).exits_with(0);
        own.says("Examples:").says("Usage:");
    }
    for part in ["projects", "oauth-clients"] {
        let own = folder.run(&[part, "--help"], &[]).exits_with(0);
        let (_, commands) = own.stdout.split_once("Commands:\n").unwrap();
        let commands = commands.lines().take_while(|line| !line.is_empty());
        let names = commands.filter_map(|line| line.split_whitespace().next());
        for command in names.filter(|name| *name != "help") {
            let help = folder.run(&[part, command, "--help"], &[]).exits_with(0);
            help.says("Usage:");
        }
    }
    folder
        .run(&["--version"], &[])
        .exits_with(0)
        .says(env!("CARGO_PKG_VERSION"));
}

/// An image is built of what `.dockerignore` lets in.
#[test]
fn every_crate_gets_into_the_images() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(top.join("Cargo.toml")).unwrap();
    let ignored = fs::read_to_string(top.join(".dockerignore")).unwrap();
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    assert!(members.len() > 5, "{members:?}");
    for member in members.iter().filter(|member| *member != ".") {
        let let_in = format!("!{member}");
        assert!(ignored.lines().any(|line| line == let_in), "{member}");
    }
}
