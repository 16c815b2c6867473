//! What a token-service with ten thousand projects takes: to start, to deal, to list, to be
//! scraped, to refresh all of them, and in memory.
//!
//! The service is a process of its own, this program over again, and everything is asked of it
//! over gRPC on loopback: what the call takes is in the figures.

mod service;
mod table;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{self, project_service_client::ProjectServiceClient};
use anyhow::{Context as _, ensure};
use clap::Args;
use fake_google::{Account, CLIENT_ID, CLIENT_SECRET, Running};
use serde_json::json;
use tonic::transport::Channel;

pub(crate) use self::service::be_service;
use self::service::{ADMIN_TOKEN, ENCRYPTION_KEY, GATEWAY_TOKEN, Service, with_token};

const MODEL: &str = "gemini-3-pro";
/// Projects that rest and that are disabled, of a hundred.
const RESTING: usize = 10;
const DISABLED: usize = 5;
/// For everything to be refreshed: a hundredth of a second for each of so many projects, and
/// more.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(250);

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Projects of the pool, 20 to 100,000.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    projects: u32,
    /// `sqlite`: a file of its own, removed at the end. Otherwise the DATABASE_URL of a database
    /// that is empty; what it gets stays there.
    #[arg(long, value_name = "DATABASE", default_value = "sqlite")]
    database: String,
    /// Calls of AcquireTokens of each kind.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    calls: u32,
    /// Fail when a figure misses its target.
    #[arg(long)]
    check: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
struct Figures {
    /// Refreshes a second while no project had a token.
    refreshes: f64,
    started: Duration,
    /// Resident memory in MiB after the start, and the most by the end.
    memory: (f64, f64),
    acquires: Vec<Acquires>,
    listed: Duration,
    scraped: Duration,
}

/// How long calls took.
#[derive(Clone, Debug)]
struct Acquires {
    name: String,
    median: Duration,
    p99: Duration,
    longest: Duration,
}

impl Arguments {
    /// Measures and prints.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let figures = self.measure().await?;
        println!("{}", table::of(&figures, self.projects));
        let missed = figures.missed();
        ensure!(
            !self.check || missed.is_empty(),
            "targets are missed: {}",
            missed.join("; ")
        );
        Ok(())
    }

    async fn measure(&self) -> anyhow::Result<Figures> {
        let count = self.projects as usize;
        let folder = tempfile::tempdir().context("cannot make a folder for the service")?;
        let config = fake_google::Config::with_accounts(count);
        let google = Running::start(config, false).await?;
        let mut figures = Figures::default();

        // The pool is made as operators make one: by a tokens file. No project has an access
        // token yet, so that all are refreshed at once.
        let seed = folder.path().join("seed.json");
        write_seed(&seed, count)?;
        let mut environment = self.environment(folder.path(), &google);
        environment.push(("TOKENS_FILE", seed.display().to_string()));
        let service = Service::start(&environment, folder.path(), "filled")?;
        figures.refreshes = refresh_all(&google, count).await?;
        service.end().await?;

        environment.pop();
        let began = Instant::now();
        let service = Service::start(&environment, folder.path(), "measured")?;
        let channel = service.channel().await?;
        acquire(&channel, 1).await?;
        figures.started = began.elapsed();
        figures.memory.0 = service.memory()?.now;

        figures.acquires.push(self.acquires(&channel, 1, "").await?);
        figures
            .acquires
            .push(self.acquires(&channel, 16, "").await?);
        rest_and_disable(&channel, count).await?;
        let troubled = ", some rest or are disabled";
        figures
            .acquires
            .push(self.acquires(&channel, 1, troubled).await?);
        figures
            .acquires
            .push(self.acquires(&channel, 16, troubled).await?);
        figures.listed = list(&channel, count).await?;
        figures.scraped = service.scrape().await?;
        figures.memory.1 = service.memory()?.peak;
        service.end().await?;
        Ok(figures)
    }

    fn environment(&self, folder: &Path, google: &Running) -> Vec<(&'static str, String)> {
        let database = match self.database.as_str() {
            "sqlite" => format!("sqlite://{}", folder.join("tokens.db").display()),
            url => url.to_owned(),
        };
        let url = google.base_url();
        vec![
            ("DATABASE_URL", database),
            ("ENCRYPTION_KEY", ENCRYPTION_KEY.to_owned()),
            ("GATEWAY_TOKEN", GATEWAY_TOKEN.to_owned()),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("OAUTH_TOKEN_URL", format!("{url}/token")),
            ("ANTIGRAVITY_BASE_URLS", url),
            ("TOKEN_SERVICE_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOKEN_SERVICE_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ]
    }

    async fn acquires(
        &self,
        channel: &Channel,
        count: u32,
        more: &str,
    ) -> anyhow::Result<Acquires> {
        let mut took = Vec::new();
        // A tenth as many before, so that both sides are warm.
        for call in 0..self.calls + self.calls / 10 {
            let began = Instant::now();
            acquire(channel, count).await?;
            if call >= self.calls / 10 {
                took.push(began.elapsed());
            }
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        let turns = if count == 1 { "turn" } else { "turns" };
        Ok(Acquires {
            name: format!("acquire {count} {turns}{more}"),
            median: at(50),
            p99: at(99),
            longest: at(100),
        })
    }
}

fn write_seed(path: &Path, count: usize) -> anyhow::Result<()> {
    let entries = (1..=count).map(|number| {
        let account = Account::numbered(number);
        json!({
            "project_id": account.projects[0],
            "refresh_token": account.refresh_token,
            "access_token": null,
            "expires_at": null,
        })
    });
    let file = json!({
        "oauth_config": {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        "projects": entries.collect::<Vec<_>>(),
    });
    std::fs::write(path, file.to_string()).context("cannot write the projects")
}

/// Waits until every project was refreshed; how many were in a second.
async fn refresh_all(google: &Running, count: usize) -> anyhow::Result<f64> {
    let mut began = None;
    let end = Instant::now() + PATIENCE;
    loop {
        let done = google.fake().counters().oauth.total;
        if done > 0 {
            began.get_or_insert((Instant::now(), done));
        }
        if let Some((since, first)) = began
            && done >= count as u64
        {
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            let refreshed = (done - first) as f64;
            return Ok(refreshed / since.elapsed().as_secs_f64().max(0.001));
        }
        ensure!(
            Instant::now() < end,
            "only {done} of {count} projects were refreshed within {PATIENCE:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

async fn acquire(channel: &Channel, count: u32) -> anyhow::Result<()> {
    let request = v1::AcquireTokensRequest {
        count: Some(count),
        model: MODEL.to_owned(),
        ..Default::default()
    };
    let mut client = v1::token_service_client::TokenServiceClient::new(channel.clone());
    let answer = client.acquire_tokens(with_token(request, GATEWAY_TOKEN)?);
    let dealt = answer.await?.into_inner().turns.len();
    ensure!(
        dealt == count as usize,
        "{dealt} of {count} turns were dealt"
    );
    Ok(())
}

/// Lets some projects rest for the model's group, and disables others.
async fn rest_and_disable(channel: &Channel, count: usize) -> anyhow::Result<()> {
    let project = |number: usize| Account::numbered(number).projects[0].clone();
    let until = std::time::SystemTime::now() + Duration::from_secs(7_200);
    let reports: Vec<_> = (1..=count * RESTING / 100)
        .map(|number| v1::OutcomeReport {
            outcome_id: format!("limited-{number}"),
            project_id: project(number),
            outcome: v1::Outcome::QuotaExhausted.into(),
            model: MODEL.to_owned(),
            reset_at: Some(until.into()),
            ..Default::default()
        })
        .collect();
    let mut tokens = v1::token_service_client::TokenServiceClient::new(channel.clone());
    for batch in reports.chunks(500) {
        let request = v1::ReportOutcomesRequest {
            reports: batch.to_vec(),
            ..Default::default()
        };
        tokens
            .report_outcomes(with_token(request, GATEWAY_TOKEN)?)
            .await?;
    }
    let mut projects = ProjectServiceClient::new(channel.clone());
    for number in count - count * DISABLED / 100..count {
        let request = v1::UpdateProjectRequest {
            project: Some(v1::Project {
                id: project(number),
                disabled: true,
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["disabled".to_owned()],
            }),
            ..Default::default()
        };
        projects
            .update_project(with_token(request, ADMIN_TOKEN)?)
            .await?;
    }
    Ok(())
}

/// Reads all pages.
async fn list(channel: &Channel, count: usize) -> anyhow::Result<Duration> {
    let mut client = ProjectServiceClient::new(channel.clone());
    let began = Instant::now();
    let (mut listed, mut page_token) = (0, String::new());
    loop {
        let request = v1::ListProjectsRequest {
            page_size: 1000,
            page_token,
        };
        let page = client
            .list_projects(with_token(request, ADMIN_TOKEN)?)
            .await?;
        let page = page.into_inner();
        listed += page.projects.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            ensure!(listed == count, "{listed} of {count} projects are listed");
            return Ok(began.elapsed());
        }
    }
}
