//! The admin listener of the service.

use std::{net::SocketAddr, time::Duration};

use antigravity_proto::v1::{self, Outcome, OutcomeReport};
use antigravity_runtime::{shutdown::Shutdown, tls};
use fake_google::{Action, Endpoint, ErrorForm, ErrorName, Fault};
use token_service::{Config, Error, serve};
use tokio::net::TcpListener;

use crate::support::{
    Home, Service, eventually, fake, google, one_token, report, set_disabled, tokens_json, wanted,
};

struct Watched {
    service: Service,
    admin: SocketAddr,
    http: reqwest::Client,
}

impl Watched {
    async fn start(home: &Home) -> Self {
        let (config, admin) = watched(home);
        tls::install_crypto_provider();
        let this = Self {
            service: Service::start(config).await,
            admin,
            http: reqwest::Client::builder()
                .tls_certs_only([])
                .build()
                .unwrap(),
        };
        let livez = format!("http://{admin}/livez");
        eventually("it listens", async || {
            this.http.get(&livez).send().await.is_ok()
        })
        .await;
        this
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until a scrape has this line.
    async fn shows(&self, line: &str) -> String {
        let whole = format!("antigravity_token_service_{line}");
        let mut text = String::new();
        for _ in 0..500 {
            text = self.get("/metrics").await.1;
            if text.lines().any(|line| line == whole) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{whole} is not in {text}");
    }
}

fn watched(home: &Home) -> (Config, SocketAddr) {
    let admin = fake_google::unused_address().unwrap();
    let mut config = home.config();
    config.admin_listen = Some(admin);
    (config, admin)
}

#[tokio::test]
async fn figures_are_what_was_done() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let it = Watched::start(&home).await;
    let mut gateway = it.service.tokens().await;
    let answer = gateway.acquire_tokens(wanted(3)).await.unwrap();
    assert_eq!(answer.into_inner().turns.len(), 3);
    let limited = OutcomeReport {
        reset_at: Some(prost_types::Timestamp {
            seconds: home.clock.now().as_second() + 600,
            nanos: 0,
        }),
        ..report("b", Outcome::QuotaExhausted)
    };
    let reports = vec![report("a", Outcome::Ok), report("a", Outcome::Ok), limited];
    let request = v1::ReportOutcomesRequest {
        reports,
        ..Default::default()
    };
    gateway.report_outcomes(request).await.unwrap();
    let mut too_many = wanted(1);
    too_many.count = Some(1000);
    gateway.acquire_tokens(too_many).await.unwrap_err();
    it.service
        .tokens_as("nobody's")
        .await
        .acquire_tokens(wanted(1))
        .await
        .unwrap_err();
    let mut operator = it.service.projects().await;
    set_disabled(&mut operator, "fake-project-3", true).await;

    it.shows("projects{state=\"active\",upstream=\"antigravity\"} 2")
        .await;
    for line in [
        "projects{state=\"disabled\",upstream=\"antigravity\"} 1",
        "projects{state=\"needs_login\",upstream=\"vertex\"} 0",
        "project_state{project=\"fake-project-3\",upstream=\"antigravity\",state=\"disabled\"} 1",
        "projects_fresh{upstream=\"antigravity\"} 2",
        "projects_fresh{upstream=\"vertex\"} 0",
        "cooldowns{model_group=\"gemini\",upstream=\"antigravity\"} 1",
        "cooldowns{model_group=\"(all)\",upstream=\"antigravity\"} 0",
        "cooldowns{model_group=\"(all)\",upstream=\"gemini\"} 0",
        "refreshes_total{outcome=\"ok\"} 3",
        "refreshes_total{outcome=\"revoked\"} 0",
        "refreshes_total{outcome=\"elsewhere\"} 0",
        "refresh_duration_seconds_count 3",
        "turns_dealt_total{upstream=\"antigravity\"} 3",
        "reports_total{result=\"counted\"} 2",
        "reports_total{result=\"repeated\"} 1",
        "ledger_behind 0",
        "database_up 1",
        "replicas 1",
        "clock_skew_seconds 0.0",
        "ledger_attempts_total 2",
        "ledger_answers_total 1",
        "ledger_tokens_total{type=\"prompt\"} 206",
        "ledger_tokens_total{type=\"cached\"} 80",
        "ledger_tokens_total{type=\"completion\"} 50",
        "ledger_tokens_total{type=\"reasoning\"} 10",
        "store_errors_total{what=\"ledger\"} 0",
        "oauth_clients_refused 0",
        "rpc_duration_seconds_count{method=\"AcquireTokens\",code=\"OK\"} 1",
        "rpc_duration_seconds_count{method=\"AcquireTokens\",code=\"INVALID_ARGUMENT\"} 1",
        "rpc_duration_seconds_count{method=\"AcquireTokens\",code=\"UNAUTHENTICATED\"} 1",
        "rpc_duration_seconds_count{method=\"ReportOutcomes\",code=\"OK\"} 1",
        "rpc_duration_seconds_count{method=\"UpdateProject\",code=\"OK\"} 1",
    ] {
        it.shows(line).await;
    }
    let (_, text) = it.get("/metrics").await;
    let value = |name: &str| -> f64 {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    };
    let left = value("antigravity_token_service_access_token_expires_in_seconds{state=\"active\"}");
    assert!((3000.0..3601.0).contains(&left), "{left}");
    assert!(text.ends_with("# EOF\n"));
    for secret in ["1//", "ya29", "planted", "secret"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    it.service.stop().await;
}

#[tokio::test]
async fn a_revoked_login_and_unknown_calls_are_told() {
    let google = google(1).await;
    let home = Home::new(&google);
    let mut file = tokens_json(1..=1);
    file["projects"][0]["refresh_token"] = "1//nobody's".into();
    home.write_tokens(&file);
    let it = Watched::start(&home).await;
    it.shows("projects{state=\"needs_login\",upstream=\"antigravity\"} 1")
        .await;
    it.shows("refreshes_total{outcome=\"revoked\"} 1").await;
    // Paths come from clients.
    let builder = reqwest::Client::builder().tls_certs_only([]);
    let client = builder.http2_prior_knowledge().build().unwrap();
    for number in 0..20 {
        let url = format!("http://{}/a.B/C{number}", it.service.address);
        let call = client.post(url).header("content-type", "application/grpc");
        let answer = call.send().await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12");
    }
    it.shows("rpc_duration_seconds_count{method=\"(other)\",code=\"UNIMPLEMENTED\"} 20")
        .await;
}

#[tokio::test]
async fn a_rest_is_counted_once_and_only_of_what_would_be_dealt() {
    let google = google(4).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=4));
    let it = Watched::start(&home).await;
    let mut gateway = it.service.tokens().await;
    gateway.acquire_tokens(wanted(4)).await.unwrap();
    let end = home.clock.now().as_second() + 600;
    let rests = |id: &str, project: usize, outcome: Outcome| OutcomeReport {
        project_id: format!("fake-project-{project}"),
        reset_at: Some(prost_types::Timestamp {
            seconds: end,
            nanos: 0,
        }),
        ..report(id, outcome)
    };
    let request = v1::ReportOutcomesRequest {
        reports: vec![
            rests("a", 1, Outcome::QuotaExhausted),
            rests("b", 2, Outcome::QuotaExhausted),
            rests("c", 3, Outcome::QuotaExhausted),
        ],
        ..Default::default()
    };
    gateway.report_outcomes(request).await.unwrap();
    it.shows("cooldowns{model_group=\"gemini\",upstream=\"antigravity\"} 3")
        .await;
    let mut operator = it.service.projects().await;
    set_disabled(&mut operator, "fake-project-3", true).await;
    it.shows("cooldowns{model_group=\"gemini\",upstream=\"antigravity\"} 2")
        .await;
    it.service.stop().await;
}

#[tokio::test]
async fn tokens_that_are_not_refreshed_in_time_are_not_fresh() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let it = Watched::start(&home).await;
    it.shows("projects_fresh{upstream=\"antigravity\"} 2").await;
    fake(&google).script(
        Fault::always(Action::Error {
            error: ErrorName::Internal,
            form: ErrorForm::Object,
            retry_after: None,
        })
        .at(Endpoint::OAuthToken),
    );
    // They serve on for another four minutes, and nothing comes after them.
    home.clock.advance(Duration::from_secs(3600 - 240));
    it.shows("projects_fresh{upstream=\"antigravity\"} 0").await;
    it.shows("projects{state=\"active\",upstream=\"antigravity\"} 2")
        .await;
    it.service.stop().await;
}

#[tokio::test]
async fn a_large_pool_is_told_of_in_sums() {
    let google = google(201).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=201));
    let it = Watched::start(&home).await;
    let text = it
        .shows("projects{state=\"active\",upstream=\"antigravity\"} 201")
        .await;
    assert!(!text.contains("fake-project-"), "{text}");
    let mut operator = it.service.projects().await;
    let id = "fake-project-1".to_owned();
    operator
        .delete_project(v1::DeleteProjectRequest { id })
        .await
        .unwrap();
    let text = it
        .shows("projects{state=\"active\",upstream=\"antigravity\"} 200")
        .await;
    assert_eq!(text.matches("_project_state{").count(), 200);
}

#[tokio::test]
async fn probes() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=1));
    let it = Watched::start(&home).await;
    one_token(&mut it.service.tokens().await).await;
    assert_eq!(
        it.get("/livez").await,
        (200, r#"{"status":"ok"}"#.to_owned())
    );
    assert_eq!(
        it.get("/readyz").await,
        (200, r#"{"status":"ok"}"#.to_owned())
    );
    let (status, body) = it.get("/").await;
    assert!(
        status == 404 && body.contains("/metrics"),
        "{status} {body}"
    );

    // The address is taken.
    let other = google_home(&google);
    let mut config = other.config();
    config.admin_listen = Some(it.admin);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = serve(config, listener, Shutdown::new()).await.unwrap_err();
    assert!(matches!(refused, Error::AdminListener { .. }), "{refused}");
    assert!(
        refused.to_string().contains("TOKEN_SERVICE_ADMIN_LISTEN"),
        "{refused}"
    );
    it.service.stop().await;
    let gone = format!("http://{}/livez", it.admin);
    eventually("nobody listens", async || {
        it.http.get(&gone).send().await.is_err()
    })
    .await;
}

fn google_home(google: &fake_google::Running) -> Home {
    let home = Home::new(google);
    home.write_tokens(&tokens_json(1..=1));
    home
}
