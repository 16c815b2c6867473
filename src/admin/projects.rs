//! `projects`: the pool, one project at a time and as a list.

use std::io::{self, BufRead as _, IsTerminal as _};

use antigravity_proto::v1;
use antigravity_runtime::config::Environment;
use comfy_table::Cell;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Purpose,
    client::{self, Secret},
    files::Source,
    view, with_client,
};
use crate::{failure::Failure, table, terminal};

/// What `projects` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the projects, with their states and what to do about them.
    List {
        /// Print JSON: {"projects": [...]}, each as `show` prints it.
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one project.
    Show {
        /// The project's id in the pool.
        id: String,
        /// Print JSON: {"id", "google_project_id", "upstream", "location", "credential",
        /// "account", "oauth_client_id", "display_name", "disabled", "state", "state_reason",
        /// "action_url", "cooldowns": [{"model_group", "until"}], "token_expires_at",
        /// "token_fingerprint", "refreshed_at", "refresh_error", "created_at",
        /// "updated_at", "last_dealt_at", "requests_last_hour", "errors_last_hour",
        /// "quotas": [{"model_group", "window", "remaining_fraction", "reset_at",
        /// "observed_at"}]}.
        #[arg(long)]
        json: bool,
    },
    /// Add a project with its refresh token, service-account key or Gemini API key.
    Add(Add),
    /// Give a project another refresh token, service-account key or API key.
    SetCredential(SetCredential),
    /// Remove a project and its tokens for good.
    Remove {
        /// The project's id in the pool.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON: {"id", "removed"}.
        #[arg(long)]
        json: bool,
    },
    /// Refresh a project's access token now.
    Refresh(One),
    /// Put a project back into the rotation.
    Enable(One),
    /// Take a project out of the rotation.
    Disable(One),
}

/// One project.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The project's id in the pool.
    id: String,
    /// Print JSON: the project, as `show` prints it.
    #[arg(long)]
    json: bool,
}

/// A new project.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The Google Cloud project id, such as my-project-123. Default: that of the
    /// service-account key; an API key needs none.
    google_project_id: Option<String>,
    #[command(flatten)]
    credential: Credential,
    /// Its id in the pool. Default: the Google Cloud project id.
    #[arg(long)]
    id: Option<String>,
    /// Which Google API serves it. Default: DEFAULT_UPSTREAM, where that takes the
    /// credential; else vertex for a service-account key, gemini for an API key.
    #[arg(long, value_enum)]
    upstream: Option<Upstream>,
    /// Vertex AI's location. Default: global.
    #[arg(long)]
    location: Option<String>,
    /// The OAuth client that minted the refresh token. Default: the only one there is.
    #[arg(long, value_name = "CLIENT_ID")]
    oauth_client: Option<String>,
    /// A name for people.
    #[arg(long)]
    name: Option<String>,
    /// Add it without asking Google for an access token first.
    #[arg(long)]
    no_check: bool,
    /// Print JSON: the project, as `show` prints it.
    #[arg(long)]
    json: bool,
}

/// What it logs in with.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Credential {
    /// A file with the refresh token; - reads standard input.
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<Source>,
    /// A file with the key of a service account (JSON, as Google gives it), for vertex and
    /// gemini; - reads standard input.
    #[arg(long, value_name = "FILE")]
    service_account_file: Option<Source>,
    /// A file with a key of the Gemini API, for gemini; - reads standard input.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<Source>,
}

/// A credential in place of the one that a project has.
#[derive(Debug, clap::Args)]
pub(crate) struct SetCredential {
    /// The project's id in the pool.
    id: String,
    #[command(flatten)]
    credential: Credential,
    /// The OAuth client that minted the refresh token. Default: the one that it had, or
    /// the only one there is.
    #[arg(long, value_name = "CLIENT_ID")]
    oauth_client: Option<String>,
    /// Print JSON: the project, as `show` prints it.
    #[arg(long)]
    json: bool,
}

impl Credential {
    fn read(self) -> Result<Secret, Failure> {
        match self {
            Self {
                refresh_token_file: Some(file),
                ..
            } => Ok(Secret::RefreshToken(file.read_secret("refresh token")?)),
            Self {
                service_account_file: Some(file),
                ..
            } => Ok(Secret::ServiceAccountKey(
                file.read_secret("service-account key")?,
            )),
            Self {
                api_key_file: Some(file),
                ..
            } => Ok(Secret::ApiKey(file.read_secret("API key")?)),
            Self { .. } => Err(Failure::Usage(
                "give one of --refresh-token-file, --service-account-file and --api-key-file"
                    .to_owned(),
            )),
        }
    }
}

/// The upstreams as operators write them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Upstream {
    Antigravity,
    Gemini,
    Vertex,
}

impl From<Upstream> for v1::Upstream {
    fn from(upstream: Upstream) -> Self {
        match upstream {
            Upstream::Antigravity => Self::Antigravity,
            Upstream::Gemini => Self::Gemini,
            Upstream::Vertex => Self::Vertex,
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    projects: Vec<view::Project>,
}

#[derive(Debug, Serialize)]
struct Removed {
    id: String,
    removed: bool,
}

/// Does one of them.
pub(crate) async fn run(environment: &Environment, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { json } => list(environment, json).await,
        Command::Show { id, json } => {
            let project = with_client(environment, Purpose::Read, async |client| {
                Ok(client.get_project(id).await?)
            })
            .await?;
            show(project, json)
        }
        Command::Add(add) => {
            let json = add.json;
            let project = create(environment, add).await?;
            told(project, json, "is added, and is ")
        }
        Command::SetCredential(set) => {
            let json = set.json;
            let project = set_credential(environment, set).await?;
            told(project, json, "has its new credential, and is ")
        }
        Command::Remove { id, yes, json } => remove(environment, id, yes, json).await,
        Command::Refresh(One { id, json }) => {
            let project = with_client(environment, Purpose::Write, async |client| {
                Ok(client.refresh_project(id).await?)
            })
            .await?;
            told(project, json, "is refreshed, and is ")
        }
        Command::Enable(one) => set_disabled(environment, one, false).await,
        Command::Disable(one) => set_disabled(environment, one, true).await,
    }
}

async fn list(environment: &Environment, json: bool) -> Result<(), Failure> {
    let projects = with_client(environment, Purpose::Read, async |client| {
        Ok(client.list_projects().await?)
    })
    .await?;
    let list = List {
        projects: projects.into_iter().map(Into::into).collect(),
    };
    if json {
        return view::print_json(&list);
    }
    if list.projects.is_empty() {
        terminal::line(
            "There is no project yet. Bring one in: `antigravity-gateway login`, \
             `antigravity-gateway import data/tokens.json`, or `antigravity-gateway projects add \
             GOOGLE_PROJECT_ID --refresh-token-file FILE`.",
        );
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = table::table(&[
        "ID",
        "GOOGLE PROJECT",
        "UPSTREAM",
        "CREDENTIAL",
        "STATE",
        "TOKEN ENDS",
        "LAST HOUR",
        "QUOTA LEFT",
        "COOLDOWNS",
    ]);
    for project in &list.projects {
        table.add_row([
            Cell::new(&project.id),
            Cell::new(project.google_project_id.as_deref().unwrap_or("-")),
            Cell::new(project.upstream),
            Cell::new(project.credential.replace('_', " ")),
            table::state(project.state),
            Cell::new(since(project.token_expires_at, now)),
            Cell::new(last_hour(project)),
            Cell::new(least_quotas(project)),
            Cell::new(cooldowns(project, now)),
        ]);
    }
    table::print(&table);
    // Sentences, which a column would break to pieces.
    for project in &list.projects {
        let remarks = remarks(project);
        if !remarks.is_empty() {
            terminal::line(format!("\n{}: {remarks}", project.id));
        }
    }
    Ok(())
}

async fn create(environment: &Environment, add: Add) -> Result<v1::Project, Failure> {
    let secret = add.credential.read()?;
    if matches!(secret, Secret::RefreshToken(_)) && add.google_project_id.is_none() {
        return Err(Failure::Usage(
            "a refresh token does not tell its Google project: `projects add GOOGLE_PROJECT_ID \
             --refresh-token-file FILE`"
                .to_owned(),
        ));
    }
    let upstream = add
        .upstream
        .map_or(v1::Upstream::Unspecified, v1::Upstream::from);
    let project = v1::Project {
        id: add.id.unwrap_or_default(),
        google_project_id: add.google_project_id.unwrap_or_default(),
        upstream: upstream.into(),
        location: add.location.unwrap_or_default(),
        oauth_client_id: add.oauth_client.unwrap_or_default(),
        display_name: add.name.unwrap_or_default(),
        ..Default::default()
    };
    let check = !add.no_check;
    with_client(environment, Purpose::Write, async |client| {
        let created = client.create_project(project, &secret, check).await;
        created.map_err(|error| not_added(error, check))
    })
    .await
}

/// A check that cannot be made is no reason not to add a project, if it is wanted unseen.
fn not_added(error: client::Error, checked: bool) -> Failure {
    match error {
        client::Error::Failed { status, .. }
            if checked && status.code() == tonic::Code::Unavailable =>
        {
            Failure::Found(format!(
                "nothing was added: {}; --no-check adds the project without asking Google",
                status.message()
            ))
        }
        error => error.into(),
    }
}

async fn set_credential(
    environment: &Environment,
    set: SetCredential,
) -> Result<v1::Project, Failure> {
    let secret = set.credential.read()?;
    with_client(environment, Purpose::Write, async |client| {
        Ok(client
            .set_credential(set.id, &secret, set.oauth_client)
            .await?)
    })
    .await
}

async fn remove(
    environment: &Environment,
    id: String,
    yes: bool,
    json: bool,
) -> Result<(), Failure> {
    confirm(
        yes,
        &format!("Remove the project {id} and its tokens for good?"),
    )?;
    with_client(environment, Purpose::Write, async |client| {
        Ok(client.delete_project(id.clone()).await?)
    })
    .await?;
    if json {
        return view::print_json(&Removed { id, removed: true });
    }
    terminal::line(format!("{id} is removed"));
    Ok(())
}

async fn set_disabled(
    environment: &Environment,
    One { id, json }: One,
    disabled: bool,
) -> Result<(), Failure> {
    let project = with_client(environment, Purpose::Write, async |client| {
        Ok(client.set_disabled(id, disabled).await?)
    })
    .await?;
    told(project, json, "is ")
}

/// Asks a person; without one, or with `--yes`, nobody is asked.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask at; say --yes".to_owned(),
        ));
    }
    terminal::piece(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Found("nothing was removed".to_owned())),
    }
}

fn told(project: v1::Project, json: bool, what: &str) -> Result<(), Failure> {
    let project = view::Project::from(project);
    if json {
        return view::print_json(&project);
    }
    let now = Timestamp::now();
    let mut text = format!("{} {what}{}", project.id, project.state.replace('_', " "));
    if let Some(end) = project.token_expires_at {
        text = format!("{text}, access token ends {}", table::distance(end, now));
    }
    let remarks = remarks(&project);
    if !remarks.is_empty() {
        text = format!("{text}; {remarks}");
    }
    terminal::line(text);
    Ok(())
}

fn show(project: v1::Project, json: bool) -> Result<(), Failure> {
    let project = view::Project::from(project);
    if json {
        return view::print_json(&project);
    }
    let now = Timestamp::now();
    let text = |text: &Option<String>| Cell::new(terminal::plain(text.as_deref().unwrap_or("-")));
    let mut table = table::table(&["PROJECT", &project.id]);
    let rows = [
        ("Name", text(&project.display_name)),
        ("Google project", text(&project.google_project_id)),
        ("Upstream", Cell::new(project.upstream)),
        ("Location", text(&project.location)),
        (
            "Credential",
            Cell::new(project.credential.replace('_', " ")),
        ),
        ("Account", text(&project.account)),
        ("OAuth client", text(&project.oauth_client_id)),
        ("State", table::state(project.state)),
        ("Why, and what next", text(&project.state_reason)),
        ("To be opened", text(&project.action_url)),
        ("Cooldowns", Cell::new(cooldowns(&project, now))),
        (
            "Access token ends",
            Cell::new(since(project.token_expires_at, now)),
        ),
        ("Access token", text(&project.token_fingerprint)),
        ("Refreshed", Cell::new(since(project.refreshed_at, now))),
        ("Last refresh failed", text(&project.refresh_error)),
        ("Last dealt", Cell::new(since(project.last_dealt_at, now))),
        ("Last hour", Cell::new(last_hour(&project))),
        ("Quotas", Cell::new(quotas(&project, now))),
        ("Added", Cell::new(since(project.created_at, now))),
        ("Changed", Cell::new(since(project.updated_at, now))),
    ];
    for (name, value) in rows {
        table.add_row([Cell::new(name), value]);
    }
    table::print(&table);
    Ok(())
}

fn since(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| table::distance(time, now))
}

fn cooldowns(project: &view::Project, now: Timestamp) -> String {
    listed(project.cooldowns.iter().map(|cooldown| {
        let group = cooldown.model_group.as_deref().unwrap_or("all models");
        format!("{group} {}", since(cooldown.until, now))
    }))
}

fn last_hour(project: &view::Project) -> String {
    match (project.requests_last_hour, project.errors_last_hour) {
        (0, _) => "-".to_owned(),
        (requests, 0) => requests.to_string(),
        (requests, errors) => format!("{requests}, {errors} failed"),
    }
}

/// What is left of the scarcest window of each group.
fn least_quotas(project: &view::Project) -> String {
    let mut least: Vec<(&str, f64)> = Vec::new();
    for quota in &project.quotas {
        let left = quota.remaining_fraction;
        match least
            .iter_mut()
            .find(|(group, _)| *group == quota.model_group)
        {
            Some((_, least)) => *least = least.min(left),
            None => least.push((&quota.model_group, left)),
        }
    }
    listed(
        least
            .iter()
            .map(|(group, left)| format!("{group} {}", percent(*left))),
    )
}

fn quotas(project: &view::Project, now: Timestamp) -> String {
    listed(project.quotas.iter().map(|quota| {
        let reset = quota.reset_at.map_or_else(String::new, |reset| {
            format!(", anew {}", table::distance(reset, now))
        });
        format!(
            "{} {} {}{reset}",
            quota.model_group,
            quota.window,
            percent(quota.remaining_fraction)
        )
    }))
}

fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

fn listed(each: impl Iterator<Item = String>) -> String {
    match each.collect::<Vec<_>>() {
        none if none.is_empty() => "-".to_owned(),
        some => some.join(", "),
    }
}

pub(super) fn remarks(project: &view::Project) -> String {
    let state_reason = project.state_reason.iter().cloned();
    let link = project.action_url.iter().cloned();
    let failure = project
        .refresh_error
        .iter()
        .map(|error| format!("last refresh: {error}"));
    state_reason
        .chain(link)
        .chain(failure)
        .collect::<Vec<_>>()
        .join("; ")
}
