//! Processes with bounded patience, in folders of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use fake_google::{Config, Running};
use serde_json::{Value, json};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const API_KEY: &str = "sk-planted-api-key-of-the-tests";
pub(crate) const CLIENT_SECRET: &str = "GOCSPX-planted-client-secret";
pub(crate) const CLIENT_ID: &str = "planted.apps.googleusercontent.com";

/// A folder to run in.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    /// Every name below it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_antigravity-gateway"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            // Nothing is to meet a service that happens to run on the usual ports.
            .env("TOKEN_SERVICE_LISTEN", "127.0.0.1:0")
            .env("LOG_FORMAT", "json")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        self.start(arguments, environment).wait()
    }

    /// Runs a command to its end with something to read.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.command(arguments, &[]);
        let mut process = Process::of(command.stdin(Stdio::piped()));
        let mut stdin = process.child.0.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        process.wait()
    }

    /// Starts a command that goes on.
    pub(crate) fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        Process::of(&mut self.command(arguments, environment))
    }

    /// Starts a command that reads what is written to it.
    pub(crate) fn start_reading(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> (Process, ChildStdin) {
        let mut command = self.command(arguments, environment);
        let mut process = Process::of(command.stdin(Stdio::piped()));
        let stdin = process.child.0.stdin.take().unwrap();
        (process, stdin)
    }

    /// Starts `serve` and waits until both services listen.
    pub(crate) fn serve(&self, environment: &[(&str, &str)]) -> Serving {
        let defaults = [("PORT", "0"), ("SHUTDOWN_DELAY", "0s")];
        let environment: Vec<_> = defaults.iter().chain(environment).copied().collect();
        let process = self.start(&["serve"], &environment);
        let token_service = process.address_in("\"listening\"");
        let gateway = process.address_in("\"the gateway listens\"");
        Serving {
            process,
            gateway,
            token_service,
        }
    }
}

/// A process that runs, and what it says.
pub(crate) struct Process {
    child: OwnChild,
    stdout: Output,
    stderr: Output,
}

/// One of the two outputs of a process, line by line.
struct Output {
    lines: mpsc::Receiver<String>,
    said: Arc<Mutex<String>>,
    reader: thread::JoinHandle<()>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        let said = Arc::new(Mutex::new(String::new()));
        let reader = thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in BufReader::new(pipe).lines() {
                    let line = line.unwrap();
                    said.lock().unwrap().push_str(&format!("{line}\n"));
                    // Nobody waits for lines any more once the test is over.
                    let _ = sender.send(line);
                }
            }
        });
        Self {
            lines,
            said,
            reader,
        }
    }

    #[track_caller]
    fn line_with(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(_) => panic!("no {part} in: {}", self.so_far()),
            }
        }
    }

    fn so_far(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn whole(self) -> String {
        self.reader.join().unwrap();
        let said = self.said.lock().unwrap();
        said.clone()
    }
}

/// A process that has ended.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    /// Standard output and standard error.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(part), "{part:?} is not in: {all}");
        self
    }

    #[track_caller]
    pub(crate) fn tells_no(&self, secret: &str) -> &Self {
        assert!(!secret.is_empty());
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(!all.contains(secret), "{secret:?} is in: {all}");
        self
    }
}

impl Process {
    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Output::of(child.stdout.take().unwrap());
        let stderr = Output::of(child.stderr.take().unwrap());
        Self {
            child: OwnChild(child),
            stdout,
            stderr,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The next log line with `part` in it.
    #[track_caller]
    pub(crate) fn log_with(&self, part: &str) -> Value {
        serde_json::from_str(&self.stderr.line_with(part)).unwrap()
    }

    /// The next line on standard error with `part` in it.
    #[track_caller]
    pub(crate) fn stderr_with(&self, part: &str) -> String {
        self.stderr.line_with(part)
    }

    /// Everything on standard output up to a line with `part` in it.
    #[track_caller]
    pub(crate) fn stdout_until(&self, part: &str) -> String {
        self.stdout.line_with(part);
        self.stdout.so_far()
    }

    #[track_caller]
    pub(crate) fn address_in(&self, part: &str) -> SocketAddr {
        let line = self.log_with(part);
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// As a machine that loses its power.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Finished {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                // So that the readers come to an end as well.
                self.child.0.kill().unwrap();
                panic!("still running: {}", self.stderr.so_far());
            }
            thread::sleep(Duration::from_millis(5));
        };
        Finished {
            code: status.code(),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

/// Ends with the test, whatever comes of that.
struct OwnChild(Child);

impl Drop for OwnChild {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and that is all right.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both services, listening.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) gateway: SocketAddr,
    pub(crate) token_service: SocketAddr,
}

impl Serving {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub(crate) fn end(self) -> Finished {
        self.process.terminate();
        self.process.wait()
    }
}

/// An HTTP client that no proxy misleads.
pub(crate) fn http() -> reqwest::Client {
    antigravity_runtime::tls::install_crypto_provider();
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    builder.build().unwrap()
}

/// Posts a chat.
pub(crate) async fn chat(url: &str, key: &str, stream: bool) -> reqwest::Response {
    let body = json!({
        "model": "gemini-2.5-flash",
        "stream": stream,
        "messages": [{"role": "user", "content": "Say something about rivers."}],
    });
    http()
        .post(url)
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

/// Account `n`, of the planted client.
pub(crate) fn account(n: usize) -> fake_google::Account {
    fake_google::Account {
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        ..fake_google::Account::new(
            format!("1//planted-refresh-token-{n}"),
            format!("project-{n}"),
        )
    }
}

/// A fake Google over HTTPS with three accounts of the planted client.
pub(crate) async fn google(config: Config) -> Running {
    let config = Config {
        accounts: (1..=3).map(account).collect(),
        ..config
    };
    Running::start(config, true).await.unwrap()
}

/// The tokens file of those accounts, as the FastAPI version wrote it.
pub(crate) fn tokens_json() -> String {
    let projects: Vec<_> = (1..=3)
        .map(account)
        .map(|account| {
            json!({
                "project_id": account.projects[0],
                "refresh_token": account.refresh_token,
                "access_token": null,
                "expires_at": null,
            })
        })
        .collect();
    let file = json!({
        "oauth_config": {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": "https://oauth2.googleapis.com/token",
        },
        "projects": projects,
    });
    format!("{file:#}\n")
}

/// What points a process at `google`, its authority in `folder`.
pub(crate) fn at(google: &Running, folder: &Folder) -> Vec<(&'static str, String)> {
    folder.write("ca.pem", google.ca_pem().unwrap());
    let url = google.base_url();
    vec![
        ("UPSTREAM_CA_FILE", "ca.pem".to_owned()),
        ("OAUTH_TOKEN_URL", format!("{url}/token")),
        ("OAUTH_AUTH_URL", format!("{url}/o/oauth2/v2/auth")),
        ("OAUTH_USERINFO_URL", format!("{url}/oauth2/v2/userinfo")),
        ("ANTIGRAVITY_BASE_URLS", url.clone()),
        ("GEMINI_BASE_URL", url.clone()),
        ("VERTEX_BASE_URL", url),
    ]
}

pub(crate) fn borrowed<'a>(pairs: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().map(|(k, v)| (*k, v.as_str())).collect()
}
