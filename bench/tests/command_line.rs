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
