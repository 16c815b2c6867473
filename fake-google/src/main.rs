//! A fake Google from a shell.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use fake_google::{
    CLIENT_ID, CLIENT_SECRET, Config, FakeGoogle, Quota, ServiceAccount, Tls, serve,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CONTROLS: &str = r#"While it runs (URL is what it printed):
  curl URL/__fake/counters
  curl URL/__fake/faults -d '{"action": {"kind": "error", "error": "rate_limited"}, "times": 1}'
  curl URL/__fake/faults -d '{"matcher": {"project": "fake-project-1"}, "action": {"kind": "stall", "after_events": 2}}'
  curl URL/__fake/advance -d '{"seconds": 3600}'
  curl URL/__fake/accounts -d '{"refresh_token": "1//x", "projects": ["p"]}'
  curl URL/__fake/reset -d '{}'
The crate's documentation has the rest."#;

/// An offline stand-in for Google's OAuth, Code Assist, Gemini API and Vertex AI.
///
/// It answers as Google would, invents what a model would say, and can be told over HTTP (/__fake/…) to misbehave.
/// When it is ready it prints one line: the URL that it serves.
#[derive(Debug, Parser)]
#[command(name = "fake-google", version, after_help = CONTROLS)]
struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Ask the one that listens there whether it serves, and exit with 0 when it does, else with 1; not with --tls.
    #[arg(long, conflicts_with = "tls")]
    healthcheck: bool,
    /// Serve HTTPS with a certificate for localhost and 127.0.0.1, made at the start.
    #[arg(long)]
    tls: bool,
    /// Where to write the certificate authority to trust (PEM); needs --tls.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,
    /// Where to write a tokens.json that names every account and this server's token endpoint.
    #[arg(long, value_name = "FILE")]
    tokens_out: Option<PathBuf>,
    /// The URL that tokens.json names, when that is not where it listens: as others reach it.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How many accounts there are, each with a project of its own (fake-project-1, …).
    #[arg(long, default_value_t = 3, value_name = "N")]
    projects: usize,
    /// Where to write the key of a service account that may use fake-service-project.
    #[arg(long, value_name = "FILE")]
    service_account_out: Option<PathBuf>,
    /// A key that the Gemini API accepts; may be given several times. Default: AIzaFakeGoogleApiKey.
    #[arg(long = "api-key", value_name = "KEY")]
    api_keys: Vec<String>,
    /// Hand out a new refresh token with every refresh.
    #[arg(long)]
    rotate_refresh_tokens: bool,
    /// Lifetime of access tokens in seconds.
    #[arg(long, default_value_t = 3599, value_name = "SECONDS")]
    expires_in: u64,
    /// Accept refresh tokens that nobody issued, if they begin with this.
    #[arg(long, value_name = "PREFIX")]
    accept_refresh_tokens: Option<String>,
    /// Take any thought signature for a real one.
    #[arg(long)]
    accept_any_signature: bool,
    /// Serve models of any name.
    #[arg(long)]
    accept_any_model: bool,
    /// Enable presence and frequency penalties, which most models refuse.
    #[arg(long)]
    penalties: bool,
    /// Requests that each account may make per model group and hour; without it there is no limit.
    #[arg(long, value_name = "N")]
    quota: Option<u64>,
    /// How many of the newest requests GET /__fake/requests shows.
    #[arg(long, default_value_t = 0, value_name = "N")]
    keep_requests: usize,
    /// How many events the text of a streamed answer is spread over, at most.
    #[arg(long, default_value_t = 4, value_name = "N")]
    text_chunks: usize,
    /// Milliseconds before the first event of an answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    first_event_delay: u64,
    /// Milliseconds between two events of a streamed answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    event_delay: u64,
    /// Answer generateContent and streamGenerateContent with bytes made once, unchecked and uncounted: for load tests.
    #[arg(long)]
    prepared: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.healthcheck {
        return healthcheck(options.listen);
    }
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let tls = if options.tls {
        Some(Tls::generate()?)
    } else {
        None
    };
    if let (Some(file), Some(tls)) = (&options.ca_out, &tls) {
        write(file, tls.ca_pem())?;
    }
    let here = address.ip().is_loopback() || address.ip().is_unspecified();
    let url = match &tls {
        Some(_) if here => format!("https://localhost:{}", address.port()),
        Some(_) => format!("https://{address}"),
        None if address.ip().is_unspecified() => format!("http://localhost:{}", address.port()),
        None => format!("http://{address}"),
    };
    let config = options.config();
    if let Some(file) = &options.tokens_out {
        let reached = options.public_url.as_deref().unwrap_or(&url);
        write(file, &tokens_file(&config, reached.trim_end_matches('/')))?;
    }
    if let Some(file) = &options.service_account_out {
        let reached = options.public_url.as_deref().unwrap_or(&url);
        let token_uri = format!("{}/token", reached.trim_end_matches('/'));
        write(file, &service_account().key_file(&token_uri))?;
    }
    let asked = asked_to_end().context("cannot listen for signals")?;
    println!("{url}");
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    tokio::spawn(async move {
        asked.await;
        ending.cancel();
    });
    serve(FakeGoogle::new(config), listener, tls, shutdown)
        .await
        .context("the listener failed")
}

/// Asks for what every fake Google knows; whoever answers has written its files.
fn healthcheck(mut address: SocketAddr) -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_secs(3);
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /__fake/counters HTTP/1.0\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok::<_, std::io::Error>(head)
    };
    let head = asked().with_context(|| format!("{address} does not answer"))?;
    ensure!(
        head.starts_with(b"HTTP/1.") && head.ends_with(b" 200"),
        "{address} answers with an error"
    );
    Ok(())
}

/// Listens for Ctrl-C and SIGTERM from now on: the first process of a container is deaf to what
/// it does not listen for. What it returns waits for one of them.
#[cfg(unix)]
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without the signal it runs until it is killed, which is what is left to do then.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

impl Options {
    fn config(&self) -> Config {
        let defaults = Config::with_accounts(self.projects);
        Config {
            service_accounts: vec![service_account()],
            api_keys: match self.api_keys.is_empty() {
                true => defaults.api_keys.clone(),
                false => self.api_keys.clone(),
            },
            rotate_refresh_tokens: self.rotate_refresh_tokens,
            expires_in: Duration::from_secs(self.expires_in),
            any_refresh_token_with_prefix: self.accept_refresh_tokens.clone(),
            accept_any_signature: self.accept_any_signature,
            accept_any_model: self.accept_any_model,
            penalties: self.penalties,
            text_chunks: self.text_chunks,
            quota: self.quota.map(|requests| Quota {
                requests,
                window: Duration::from_secs(3600),
            }),
            keep_requests: self.keep_requests,
            first_event_delay: Duration::from_millis(self.first_event_delay),
            event_delay: Duration::from_millis(self.event_delay),
            prepared: self.prepared,
            ..defaults
        }
    }
}

fn service_account() -> ServiceAccount {
    ServiceAccount::of_project("fake-service-project")
}

fn tokens_file(config: &Config, url: &str) -> String {
    let projects: Vec<serde_json::Value> = config
        .accounts
        .iter()
        .map(|account| {
            json!({
                "project_id": account.projects.first(),
                "refresh_token": account.refresh_token,
                "access_token": null,
                "expires_at": null,
            })
        })
        .collect();
    let document = json!({
        "oauth_config": {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": format!("{url}/token"),
        },
        "projects": projects,
    });
    format!("{document:#}\n")
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
