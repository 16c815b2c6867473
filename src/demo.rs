//! `demo`: the whole path on this machine, with a fake Google at its end. Needs no
//! network and leaves nothing behind.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use antigravity_runtime::{
    config::Environment, secret, shutdown::Shutdown, telemetry, tls::install_crypto_provider,
};
use fake_google::{CLIENT_ID, CLIENT_SECRET, Running};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    failure::Failure,
    stack::{Configs, Stack},
    terminal,
};

/// Listed by every upstream, so that each of the projects gets its turn.
const MODEL: &str = "gemini-2.5-flash";
const PROMPT: &str = "Which way did this message go? Client, gateway, token-service, Google; and \
                      the answer came back over the same gateway, one event at a time.";
/// The ports that the README's examples name.
const PORT: u16 = 8000;
const TOKEN_SERVICE_PORT: u16 = 50051;

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Port of the gateway. Default: 8000 when it is free, else any free one.
    #[arg(long)]
    port: Option<u16>,
    /// End after the chat, instead of serving until Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// What sends HTTP through a proxy, which knows nothing of this machine's loopback.
#[cfg(unix)]
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Starts this process anew without a proxy, when it has one.
#[cfg(unix)]
fn leave_proxies() -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    if PROXIES.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    for name in PROXIES {
        command.env_remove(name);
    }
    Err(command.exec())
}

/// Starts everything, chats, and serves on.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    #[cfg(unix)]
    leave_proxies()?;
    let level = "warn".parse();
    let _lines = level.map(|level| telemetry::init(telemetry::Format::Text, &level));
    install_crypto_provider();
    let shutdown = Shutdown::on_signals();
    let google = Running::start(
        fake_google::Config {
            text_chunks: 40,
            first_event_delay: Duration::from_millis(150),
            event_delay: Duration::from_millis(25),
            // So that whoever tries the commands can add projects that work.
            any_refresh_token_with_prefix: Some("1//".to_owned()),
            ..fake_google::Config::with_accounts(3)
        },
        true,
    )
    .await?;
    let folder = tempfile::tempdir()?;
    let api_key = format!("sk-demo-{}", secret::generate()?.expose_secret());
    let port = match arguments.port {
        Some(port) => port,
        None => free_port(PORT).await,
    };
    let token_service_port = free_port(TOKEN_SERVICE_PORT).await;
    let environment = environment(&google, folder.path(), port, token_service_port)?;
    let environment = Environment::of(
        environment
            .into_iter()
            .chain([("API_KEYS", api_key.clone())]),
    );
    let configs = Configs::from_environment(&environment)?;
    let Some(stack) = Stack::start(configs, &shutdown).await? else {
        return Ok(());
    };
    let base = format!("http://{}/v1", stack.gateway_address);
    terminal::line(format!(
        "gateway        {base}\n\
         token-service  {}\n\
         fake-google    {}  (offline; with three projects)\n",
        stack.token_service.address,
        google.base_url(),
    ));
    let done = tokio::select! {
        done = show(&google, &base, &api_key) => done,
        () = shutdown.drain.cancelled() => Ok(()),
    };
    // Both services have read what is in there.
    drop(folder);
    if done.is_err() || arguments.once {
        shutdown.drain.cancel();
    } else if !shutdown.drain.is_cancelled() {
        terminal::line(snippets(&stack, &base, &api_key));
    }
    let served = stack.run().await;
    google.stop().await;
    done.and(served)
}

/// The environment of a stack whose Google is `google`, with its files in `folder`.
fn environment(
    google: &Running,
    folder: &Path,
    port: u16,
    token_service_port: u16,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let url = google.base_url();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        match std::fs::write(&path, text) {
            Ok(()) => Ok(path.display().to_string()),
            Err(source) => Err(Failure::File {
                action: "write",
                path,
                source,
            }),
        }
    };
    let project = |number: usize, upstream: &str| {
        let account = fake_google::Account::numbered(number);
        json!({
            "project_id": account.projects.first(),
            "refresh_token": account.refresh_token,
            "upstream": upstream,
        })
    };
    let tokens = json!({
        "oauth_config": {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_url": format!("{url}/token"),
        },
        "projects": [project(1, "antigravity"), project(2, "antigravity"), project(3, "gemini")],
    });
    Ok(vec![
        ("DATABASE_URL", "sqlite::memory:".to_owned()),
        ("TOKENS_FILE", write("tokens.json", &tokens.to_string())?),
        (
            "UPSTREAM_CA_FILE",
            write("ca.pem", google.ca_pem().unwrap_or_default())?,
        ),
        (
            "TOKEN_SERVICE_LISTEN",
            format!("{}:{token_service_port}", Ipv4Addr::LOCALHOST),
        ),
        // Of every OAuth client, so that none is asked about at Google.
        ("OAUTH_TOKEN_URL", format!("{url}/token")),
        ("OAUTH_AUTH_URL", format!("{url}/o/oauth2/v2/auth")),
        ("OAUTH_USERINFO_URL", format!("{url}/oauth2/v2/userinfo")),
        ("ANTIGRAVITY_BASE_URLS", url.clone()),
        ("GEMINI_BASE_URL", url.clone()),
        ("VERTEX_BASE_URL", url),
        ("PORT", port.to_string()),
        ("SHUTDOWN_DELAY", "0s".to_owned()),
        ("SHUTDOWN_GRACE", "5s".to_owned()),
    ])
}

/// The usual port when nobody has it, else any.
async fn free_port(usual: u16) -> u16 {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).await {
        Ok(_) => usual,
        Err(_) => {
            terminal::line(format!("Port {usual} is taken; using another one."));
            0
        }
    }
}

/// Streams one chat to the terminal, asks twice more, and tells which way it all went.
async fn show(google: &Running, base: &str, api_key: &str) -> Result<(), Failure> {
    let failed = |error: reqwest::Error| Failure::Chat(error.to_string());
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(failed)?;
    terminal::line(format!("you    {PROMPT}"));
    terminal::piece("model  ");
    let mut response = ask(&client, base, api_key, PROMPT).await?;
    let mut unread = Vec::new();
    let mut said = String::new();
    while let Some(bytes) = response.chunk().await.map_err(failed)? {
        unread.extend_from_slice(&bytes);
        for text in texts(&mut unread)? {
            terminal::piece(&text);
            said.push_str(&text);
        }
    }
    terminal::line("\n");
    if said.is_empty() {
        return Err(Failure::Chat("the answer is empty".to_owned()));
    }
    for prompt in ["And this one?", "And the third?"] {
        let response = ask(&client, base, api_key, prompt).await?;
        response.bytes().await.map_err(failed)?;
    }
    let counters = google.fake().counters();
    terminal::line(format!(
        "Asked three times; the projects took turns: {}.",
        counters.project_sequence.join(", ")
    ));
    let answers: u64 = counters.statuses.values().sum();
    let errors: u64 = counters.statuses.range(400..).map(|(_, count)| count).sum();
    terminal::line(format!(
        "fake-google refreshed {} access tokens on the way; {errors} of its {answers} answers \
         were errors.\n",
        counters.oauth.total,
    ));
    Ok(())
}

async fn ask(
    client: &reqwest::Client,
    base: &str,
    api_key: &str,
    prompt: &str,
) -> Result<reqwest::Response, Failure> {
    let failed = |error: reqwest::Error| Failure::Chat(error.to_string());
    let body = json!({
        "model": MODEL,
        "stream": true,
        "messages": [{"role": "user", "content": prompt}],
    });
    let response = client
        .post(format!("{base}/chat/completions"))
        .bearer_auth(api_key)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.map_err(failed)?;
    Err(Failure::Chat(format!("{status}: {text}")))
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

/// Takes the whole events out of `unread` and gives the text of each.
fn texts(unread: &mut Vec<u8>) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
        let event: Vec<u8> = unread.drain(..end + 2).collect();
        let event = String::from_utf8_lossy(&event);
        let Some(data) = event.trim().strip_prefix("data: ") else {
            continue;
        };
        if data == "[DONE]" {
            continue;
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| Failure::Chat(error.to_string()))?;
        if let Some(error) = chunk.error {
            return Err(Failure::Chat(error.to_string()));
        }
        texts.extend(chunk.choices.into_iter().filter_map(|c| c.delta.content));
    }
    Ok(texts)
}

fn snippets(stack: &Stack, base: &str, api_key: &str) -> String {
    let token_service = stack.token_service.address;
    let admin_token = stack.admin_token.expose_secret();
    format!(
        r#"Try it from another terminal:

export OPENAI_BASE_URL={base}
export OPENAI_API_KEY={api_key}
export TOKEN_SERVICE_URL=http://{token_service}
export ADMIN_TOKEN={admin_token}

curl -N {base}/chat/completions \
  -H "Authorization: Bearer {api_key}" \
  -H "Content-Type: application/json" \
  -d '{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"Hello!"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{base}", api_key="{api_key}")
answer = client.chat.completions.create(
    model="{MODEL}", messages=[{{"role": "user", "content": "Hello!"}}]
)
print(answer.choices[0].message.content)

With the exports, every example of the README runs here as it stands.
Ctrl-C ends it; nothing is left behind.
"#
    )
}
