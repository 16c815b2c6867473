//! The command as a shell sees it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_name_that_nothing_has_is_wrong_usage() {
    for only in ["nothing", "slow-500,nothing"] {
        let output = bench(&["--only", only]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("'nothing'"), "{said}");
        assert!(output.stdout.is_empty());
    }
    let listed = bench(&["--list", "--only", "slow,bad-idle"]);
    assert_eq!(listed.status.code(), Some(0));
    let names = "slow-500\nslow-2000\nbad-idle-connections\n";
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), names);
}

#[test]
fn a_small_pool_is_measured_whole() {
    let output = bench(&["pool", "--projects", "40", "--calls", "10"]);
    let failed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{failed}");
    let table = String::from_utf8(output.stdout).unwrap();
    for figure in [
        "start until the first turn",
        "acquire 16 turns, some rest or are disabled",
        "memory at most",
        "list of all projects",
        "scrape of metrics",
    ] {
        assert!(table.contains(figure), "{figure}: {table}");
    }
}

#[test]
fn a_database_that_is_none_is_named() {
    let output = bench(&["pool", "--projects", "20", "--database", "nothing://here"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("DATABASE_URL"), "{said}");
}

#[test]
fn a_simulation_prints_the_same_twice() {
    let arguments = [
        "simulate",
        "--gateways",
        "3",
        "--replicas",
        "2",
        "--seconds",
        "10",
    ];
    let tables = bench(&arguments).stdout;
    assert!(String::from_utf8_lossy(&tables).contains("AcquireTokens/s"));
    assert_eq!(tables, bench(&arguments).stdout);
}
