//! The gateway as a process of its own: what it finds by itself, what it refuses, and
//! what it says of itself.

#[path = "../../../tests/it/help_table.rs"]
mod help_table;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn gateway(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .env_clear()
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .current_dir(folder);
    command
}

fn refusal(folder: &Path) -> String {
    let Output { status, stderr, .. } = gateway(folder).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    said
}

/// What it says until it listens.
fn until_it_listens(running: &mut Child) -> String {
    let mut said = String::new();
    for line in BufReader::new(running.stderr.take().unwrap()).lines() {
        said.push_str(&line.unwrap());
        if said.contains("listens") {
            return said;
        }
    }
    panic!("it ended: {said}");
}

#[test]
fn it_finds_the_secrets_that_a_first_start_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(refusal(folder.path()).contains("API_KEYS is not set"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("api_key"), "sk-planted-0123456789\n").unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("GATEWAY_TOKEN is not set"), "{said}");
    fs::write(data.join("gateway_token"), "\n").unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("data/gateway_token is empty"), "{said}");
    fs::write(data.join("gateway_token"), "planted-gateway-token\n").unwrap();

    let mut running = gateway(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = until_it_listens(&mut running);
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(!said.contains("planted"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn it_may_open_as_many_files_as_the_system_allows() {
    let folder = tempfile::tempdir().unwrap();
    let limits = |pid: &str| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let mut numbers = line.unwrap().split_whitespace().skip(3);
        let mut next = move || numbers.next().unwrap().to_owned();
        (next(), next())
    };
    let mut running = Command::new("/bin/sh")
        .args(["-c", "ulimit -Sn 256 && exec \"$0\""])
        .arg(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .env("PORT", "0")
        .env("API_KEYS", "sk-planted-0123456789")
        .env("GATEWAY_TOKEN", "planted-gateway-token")
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until_it_listens(&mut running);
    let (soft, hard) = limits(&running.id().to_string());
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(hard, limits("self").1);
    assert_eq!(soft, hard);
}

#[test]
fn what_is_set_goes_before_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    // Not read, so that it cannot be in the way.
    fs::write(data.join("api_key"), "").unwrap();
    let done = gateway(folder.path())
        .env("API_KEYS", "sk-planted-0123456789")
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("GATEWAY_TOKEN is not set"), "{said}");
}

#[test]
fn the_readmes_table_is_what_help_tells() {
    let folder = tempfile::tempdir().unwrap();
    let done = gateway(folder.path()).arg("--help").output().unwrap();
    assert!(done.status.success());
    let help = String::from_utf8(done.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("healthcheck"));
    help_table::hold(&help, &["Gateway", "Both"]);
}

#[cfg(unix)]
#[test]
fn the_log_level_is_changed_while_it_runs() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let dotenv = folder.path().join(".env");
    let level = |level: &str| fs::write(&dotenv, format!("LOG_LEVEL={level}\n")).unwrap();
    level("info");
    let mut running = gateway(folder.path())
        .env("API_KEYS", "sk-planted-0123456789")
        .env("GATEWAY_TOKEN", "planted-gateway-token")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        let mut said = String::new();
        for line in &mut lines {
            said.push_str(&line.unwrap());
            if said.contains(wanted) {
                return said;
            }
        }
        panic!("it ended before {wanted:?}: {said}");
    };
    let said = until("the gateway listens");
    let (_, address) = said.rsplit_once("\"address\":\"").unwrap();
    let address = address.split('"').next().unwrap().to_owned();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    let pid = running.id().to_string();
    let hang_up = || {
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.unwrap().success());
    };
    ask("/v1/first");
    let said = until("/v1/first");
    assert!(!said.contains("request refused"), "{said}");

    level("info,gateway=debug");
    hang_up();
    until("the log level has changed");
    ask("/v1/second");
    let said = until("\"path\":\"/v1/second\"");
    assert!(said.contains("request refused"), "{said}");

    level("loud");
    hang_up();
    let said = until("stays as it is");
    assert!(
        said.contains("LOG_LEVEL") && said.contains(".env"),
        "{said}"
    );
    ask("/v1/third");
    let said = until("\"path\":\"/v1/third\"");
    assert!(said.contains("request refused"), "{said}");

    level("warn");
    hang_up();
    until("the log level is changed");
    std::thread::sleep(std::time::Duration::from_millis(200));
    ask("/v1/fourth");
    level("info");
    hang_up();
    let said = until("the log level has changed");
    assert!(!said.contains("/v1/fourth"), "{said}");
    running.kill().unwrap();
    running.wait().unwrap();
}
