//! `login`: an account's owner consents in a browser, and its project is in the pool.

mod ask;
mod browser;
mod callback;
mod progress;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use antigravity_proto::v1::{self, finish_login_response::Done};
use antigravity_runtime::config::{self, Environment};
use clap::builder::NonEmptyStringValueParser;
use secrecy::SecretString;
use serde::Serialize;

use self::{
    ask::{Keyboard, Line},
    callback::{Browser, Callback, Page},
    progress::Progress,
};
use super::{
    Purpose,
    client::{self, Client},
    projects::{Upstream, remarks},
    view, with_client,
};
use crate::{failure::Failure, stack, terminal};

/// How long a login may take: Google's codes are good for as long.
const LONGEST: Duration = Duration::from_secs(600);
/// Where browsers are sent that end at another machine; nobody listens there.
const ELSEWHERE: u16 = 8085;
/// How often something else may be pasted first.
const TRIES: usize = 5;

/// What `login` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which Google API is to serve it. Default: DEFAULT_UPSTREAM, or that of --id.
    #[arg(long, value_enum)]
    upstream: Option<Upstream>,
    /// The Google Cloud project id. Needed for gemini and vertex; for antigravity it is found.
    #[arg(long, value_name = "GOOGLE_PROJECT_ID", value_parser = NonEmptyStringValueParser::new())]
    project: Option<String>,
    /// Vertex AI's location. Default: global.
    #[arg(long)]
    location: Option<String>,
    /// The project's id in the pool: one that is there gets a new login. Default: the one
    /// with this Google project, else a new one of its name.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// A name for people. Default: the account's e-mail address.
    #[arg(long)]
    name: Option<String>,
    /// The OAuth client that asks for consent. Default: the only one there is.
    #[arg(long, value_name = "CLIENT_ID", value_parser = NonEmptyStringValueParser::new())]
    oauth_client: Option<String>,
    /// Open no browser: print the address, and take the answer from standard input.
    #[arg(long)]
    no_browser: bool,
    /// The port of this machine that the browser comes back to. Default: any free one.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// How long to wait for the browser; at most 10m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    timeout: Duration,
    /// Print JSON: {"project" (as `projects show` prints it), "created", "account",
    /// "proof_model", "proof_error"}.
    #[arg(long)]
    json: bool,
}

fn patience(text: &str) -> Result<Duration, String> {
    match config::positive_duration(text)? {
        longer if longer > LONGEST => {
            Err("is more than 10m, as long as Google's codes are good".to_owned())
        }
        patience => Ok(patience),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    project: view::Project,
    created: bool,
    account: Option<String>,
    proof_model: String,
    proof_error: Option<String>,
}

/// Logs in, and tells what came of it.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    // First, so that a port that is taken is told before anything is asked.
    let callback = match arguments.no_browser {
        true => None,
        false => Some(Callback::listen(arguments.port.unwrap_or(0)).await?),
    };
    let json = arguments.json;
    let done = with_client(environment, Purpose::Write, async |client| {
        let mut keyboard = Keyboard::default();
        have_client(client, &arguments, &mut keyboard).await?;
        match callback {
            Some(callback) => by_browser(client, &arguments, callback).await,
            None => by_paste(client, &arguments, keyboard).await,
        }
    })
    .await?;
    told(environment, done, json)
}

/// Asks for an OAuth client when none is stored.
async fn have_client(
    client: &mut Client,
    arguments: &Arguments,
    keyboard: &mut Keyboard,
) -> Result<(), Failure> {
    if arguments.oauth_client.is_some() || !client.list_oauth_clients().await?.is_empty() {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Found(
            "there is no OAuth client yet, and no terminal to ask for it; add yours (type \
             \"Desktop app\", from the Google Cloud console) with `antigravity-gateway \
             oauth-clients put CLIENT_ID --secret-file FILE`, then log in"
                .to_owned(),
        ));
    }
    terminal::note(
        "There is no OAuth client yet. Make your own in the Google Cloud console (Google Auth \
         Platform, Clients, type \"Desktop app\"):\n\
         https://console.cloud.google.com/auth/clients\n\
         It is asked for this once, and stored sealed.\n",
    );
    let client_id = keyboard.ask("Client ID: ", Line::Shown).await?;
    let secret = keyboard
        .ask("Client secret (it does not show): ", Line::Hidden)
        .await?;
    let put = v1::OAuthClient {
        client_id,
        ..Default::default()
    };
    let secret = SecretString::from(secret);
    let stored = client.put_oauth_client(put, Some(&secret)).await?;
    terminal::note(format!("{} is stored, sealed.\n", stored.client_id));
    Ok(())
}

async fn begin(
    client: &mut Client,
    arguments: &Arguments,
    redirect_uri: String,
) -> Result<v1::BeginLoginResponse, Failure> {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let request = v1::BeginLoginRequest {
        oauth_client_id: given(&arguments.oauth_client),
        upstream: arguments
            .upstream
            .map_or(v1::Upstream::Unspecified, v1::Upstream::from)
            .into(),
        redirect_uri,
        id: given(&arguments.id),
        google_project_id: given(&arguments.project),
        location: given(&arguments.location),
        display_name: given(&arguments.name),
    };
    client.begin_login(request).await.map_err(of_arguments)
}

async fn by_browser(
    client: &mut Client,
    arguments: &Arguments,
    callback: Callback,
) -> Result<Done, Failure> {
    let begun = begin(client, arguments, callback.redirect_uri()).await?;
    let url = &begun.authorization_url;
    let state = url
        .split(['?', '&'])
        .find_map(|field| field.strip_prefix("state="));
    let state = SecretString::from(state.unwrap_or_default());
    terminal::note(format!(
        "Consent in the browser. If it does not open, open this address on this machine:\n\n{url}\n"
    ));
    browser::open(url);
    let minutes = arguments.timeout;
    let mut browser: Browser = tokio::select! {
        browser = callback.browser(state) => browser,
        () = interrupted() => return Err(Failure::Interrupted),
        () = tokio::time::sleep(minutes) => {
            return Err(Failure::Found(format!(
                "the browser has not come back within {} s (--timeout); nothing was stored. Log \
                 in again; where no browser can reach this machine, with --no-browser",
                minutes.as_secs()
            )));
        }
    };
    let answer = browser.answer.clone();
    let finished = finish(client, begun.login, &answer).await;
    let page = match &finished {
        Ok(done) => Page::success(done),
        Err(failure) => Page::failure(&failure.to_string()),
    };
    browser.show(page).await;
    finished
}

async fn by_paste(
    client: &mut Client,
    arguments: &Arguments,
    mut keyboard: Keyboard,
) -> Result<Done, Failure> {
    let port = arguments.port.unwrap_or(ELSEWHERE);
    let begun = begin(client, arguments, callback::redirect_uri(port)).await?;
    terminal::note(format!(
        "Open this address in a browser, on any machine, and consent:\n\n{}\n\n\
         The browser ends at an address that begins with {}; its page cannot be shown, \
         which is all right. Paste that address here (or the code in it), and press Enter.",
        begun.authorization_url,
        callback::redirect_uri(port)
    ));
    let end = tokio::time::sleep(arguments.timeout);
    tokio::pin!(end);
    let mut left = TRIES;
    loop {
        left -= 1;
        let pasted = tokio::select! {
            pasted = keyboard.ask("Address or code: ", Line::Pasted) => pasted?,
            () = &mut end => {
                return Err(Failure::Found(format!(
                    "nothing was pasted within {} s (--timeout); nothing was stored. Log in again",
                    arguments.timeout.as_secs()
                )));
            }
        };
        let answer = SecretString::from(pasted);
        match finish(client, begun.login.clone(), &answer).await {
            // Something else was in the clipboard.
            Err(Failure::Pasted(problem)) if left > 0 && io::stdin().is_terminal() => {
                terminal::note(format!("What you pasted {problem}."));
            }
            done => return done,
        }
    }
}

async fn finish(
    client: &mut Client,
    login: String,
    answer: &SecretString,
) -> Result<Done, Failure> {
    let progress = Progress::start();
    let mut done = None;
    let finished = client.finish_login(login, answer, |step| match step.done {
        Some(end) => done = Some(end),
        None => progress.step(&step.message),
    });
    let finished = tokio::select! {
        finished = finished => finished,
        () = interrupted() => {
            progress.end(true).await;
            return Err(Failure::Found(
                "interrupted while the login was being finished; `antigravity-gateway projects \
                 list` tells whether it was stored"
                    .to_owned(),
            ));
        }
    };
    progress.end(finished.is_err()).await;
    finished.map_err(of_answer)?;
    done.ok_or_else(|| Failure::Found("the token-service broke the login off".to_owned()))
}

/// Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // The system's way of ending the process is left.
        std::future::pending::<()>().await;
    }
}

/// The contract's fields as the arguments that people know.
fn of_arguments(error: client::Error) -> Failure {
    if let client::Error::Refused(status) = &error {
        for (field, argument) in [
            ("google_project_id ", "--project"),
            ("oauth_client_id ", "--oauth-client"),
            ("display_name ", "--name"),
            ("location ", "--location"),
            ("upstream ", "--upstream"),
            ("id ", "--id"),
        ] {
            if let Some(problem) = status.message().strip_prefix(field) {
                return Failure::Usage(format!("{argument} {problem}"));
            }
        }
    }
    error.into()
}

fn of_answer(error: client::Error) -> Failure {
    if let client::Error::Refused(status) = &error
        && let Some(problem) = status.message().strip_prefix("answer ")
    {
        return Failure::Pasted(problem.to_owned());
    }
    error.into()
}

fn told(environment: &Environment, done: Done, json: bool) -> Result<(), Failure> {
    let present = |text: String| (!text.is_empty()).then_some(text);
    let report = Report {
        project: done.project.unwrap_or_default().into(),
        created: done.created,
        account: present(done.account),
        proof_model: done.proof_model,
        proof_error: present(done.proof_error),
    };
    if json {
        view::print_json(&report)?;
    } else {
        print(environment, &report)?;
    }
    match report.proof_error {
        None => Ok(()),
        Some(error) => Err(Failure::Found(format!(
            "the project is stored, and a real call to {} failed: {error}",
            report.proof_model
        ))),
    }
}

fn print(environment: &Environment, report: &Report) -> Result<(), Failure> {
    let project = &report.project;
    let done = if report.created {
        "is added"
    } else {
        "has a new login"
    };
    let account = report.account.as_ref();
    let account = account.map_or_else(String::new, |account| format!(", account {account}"));
    terminal::line(format!(
        "{} {done}: {}{account}, {}",
        project.id,
        project.upstream,
        project.state.replace('_', " ")
    ));
    let remarks = remarks(project);
    if !remarks.is_empty() {
        terminal::line(remarks);
    }
    if project.disabled {
        terminal::line(format!(
            "It is disabled; `antigravity-gateway projects enable {}` puts it into the rotation.",
            project.id
        ));
    }
    if report.proof_error.is_some() {
        return Ok(());
    }
    terminal::line(format!("{} has answered a real call.", report.proof_model));
    let port = match stack::var("PORT") {
        Some(var) => environment.raw(var)?.map(|(port, _)| port),
        None => None,
    };
    terminal::line(format!(
        "\nNext: `antigravity-gateway` serves it, unless that runs already. Then:\n\
         curl http://127.0.0.1:{}/v1/chat/completions \\\n  \
           -H \"Authorization: Bearer $(antigravity-gateway secret api_key)\" \\\n  \
           -H 'Content-Type: application/json' \\\n  \
           -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'",
        port.as_deref().unwrap_or("8000"),
        report.proof_model
    ));
    Ok(())
}
