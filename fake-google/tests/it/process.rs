//! The fake Google as a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// As the first process of a container it would otherwise be deaf to it, and be killed at the
/// end of its grace.
#[test]
fn it_ends_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let mut running = Command::new(env!("CARGO_BIN_EXE_fake-google"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(running.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &running.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(running.wait().unwrap().code(), Some(0), "SIG{signal}");
    }
}
