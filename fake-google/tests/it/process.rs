//! The fake Google as a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// One that is ready, and its URL.
fn started(arguments: &[&str]) -> (Child, String) {
    let mut running = Command::new(env!("CARGO_BIN_EXE_fake-google"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    let mut said = BufReader::new(running.stdout.take().unwrap());
    said.read_line(&mut url).unwrap();
    (running, url)
}

/// As the first process of a container it would otherwise be deaf to it, and be killed at the
/// end of its grace.
#[test]
fn it_ends_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let (mut running, url) = started(&[]);
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &running.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(running.wait().unwrap().code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn it_is_healthy_while_it_serves() {
    let ask = |address: &str| {
        let asked = Command::new(env!("CARGO_BIN_EXE_fake-google"))
            .args(["--healthcheck", "--listen", address])
            .output()
            .unwrap();
        (
            asked.status.code(),
            String::from_utf8(asked.stderr).unwrap(),
        )
    };
    let (mut running, url) = started(&["--listen", "0.0.0.0:0"]);
    let (_, port) = url.trim().rsplit_once(':').unwrap();
    let listened = format!("0.0.0.0:{port}");
    assert_eq!(ask(&listened), (Some(0), String::new()));
    running.kill().unwrap();
    running.wait().unwrap();
    let (code, said) = ask(&listened);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not answer"), "{said}");
}
