//! Clients that go away before the end: Google's part ends with theirs, or is read on where
//! that was asked for, and what it cost is reported.

use std::{sync::Arc, time::Duration};

use antigravity_proto::v1::{
    AcquireTokensRequest, AcquireTokensResponse, Outcome, OutcomeReport, ReportOutcomesRequest,
    ReportOutcomesResponse,
    token_service_client::TokenServiceClient,
    token_service_server::{TokenService, TokenServiceServer},
};
use fake_google::{Action, Fault};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tonic::{Request, Response, Status, transport::Channel};

use crate::support::{API_KEY, Setup, World, eventually, hello, with};

/// Stands before the token-service and keeps what gateways report.
#[derive(Clone)]
struct Recorder {
    service: TokenServiceClient<Channel>,
    reports: Arc<Mutex<Vec<OutcomeReport>>>,
}

#[tonic::async_trait]
impl TokenService for Recorder {
    async fn acquire_tokens(
        &self,
        request: Request<AcquireTokensRequest>,
    ) -> Result<Response<AcquireTokensResponse>, Status> {
        self.service.clone().acquire_tokens(request).await
    }

    async fn report_outcomes(
        &self,
        request: Request<ReportOutcomesRequest>,
    ) -> Result<Response<ReportOutcomesResponse>, Status> {
        self.reports
            .lock()
            .extend(request.get_ref().reports.clone());
        self.service.clone().report_outcomes(request).await
    }
}

impl Recorder {
    /// A world whose gateway reports to this.
    async fn before(environment: &[(&'static str, &str)]) -> (World, Self) {
        let setup = Setup {
            gateways: 0,
            environment: environment
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            ..Setup::projects(&[("p1", "gemini")])
        };
        let mut world = setup.start().await;
        let url = format!("http://{}", world.token_address());
        let channel = tonic::transport::Endpoint::from_shared(url).unwrap();
        let this = Self {
            service: TokenServiceClient::new(channel.connect_lazy()),
            reports: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = tonic::transport::Server::builder()
            .add_service(TokenServiceServer::new(this.clone()))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
        tokio::spawn(serve);
        world.set("TOKEN_SERVICE_URL", format!("http://{address}"));
        world.add_gateway().await;
        (world, this)
    }

    /// The reports, when there are so many.
    async fn reports(&self, count: usize) -> Vec<OutcomeReport> {
        eventually("the reports have come", || {
            self.reports.lock().len() >= count
        })
        .await;
        let reports = self.reports.lock().clone();
        assert_eq!(reports.len(), count);
        reports
    }
}

fn piece(text: &str, tokens: u32) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}],
           "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": tokens, "totalTokenCount": 7 + tokens}})
}

fn last(text: &str, tokens: u32) -> Value {
    let mut piece = piece(text, tokens);
    piece["candidates"][0]["finishReason"] = "STOP".into();
    piece
}

/// The next answers are these, with pauses between their events.
fn slow_answers(world: &World, times: u32, chunks: &[Value], pause: Duration) {
    let fake = world.google.fake();
    let answer = Action::Answer {
        chunks: chunks.to_vec(),
    };
    fake.script(Fault::once(answer).times(times));
    let delay = Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms: pause.as_millis().try_into().unwrap(),
    };
    fake.script(Fault::once(delay).times(times));
}

async fn stream(world: &World) -> reqwest::Response {
    let body = with(hello(), "stream", json!(true)).to_string();
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let response = request.bearer_auth(API_KEY).body(body).send().await;
    response.unwrap()
}

/// Somebody asks for a whole answer, and hangs up while Google is silent; then it goes on.
async fn gone_before_it_answers(world: &World) {
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Hold {
        gate: "gone".to_owned(),
        point: fake_google::HoldPoint::default(),
    }));
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let request = request.bearer_auth(API_KEY).body(hello().to_string());
    let asked = tokio::spawn(request.send());
    fake.reached("gone", 1).await;
    asked.abort();
    assert!(asked.await.is_err());
    // For the gateway to have seen it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fake.release("gone");
}

/// How long Google goes on answering anybody.
async fn silence(world: &World) -> Duration {
    let began = Instant::now();
    eventually("Google answers nobody", || {
        world.google.fake().counters().in_flight == 0
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn a_stream_ends_at_google_and_what_it_cost_so_far_is_reported() {
    let (world, recorder) = Recorder::before(&[]).await;
    let pause = Duration::from_secs(20);
    slow_answers(&world, 1, &[piece("one", 3), last("two", 5)], pause);
    let mut response = stream(&world).await;
    response.chunk().await.unwrap();
    drop(response);
    let took = silence(&world).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(world.google.fake().counters().aborted, 1);
    let [report] = &recorder.reports(1).await[..] else {
        panic!("more than one");
    };
    assert_eq!(report.outcome(), Outcome::Cancelled);
    let usage = report.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.candidates_tokens), (7, 3));
}

#[tokio::test]
async fn many_clients_that_hang_up_at_once_end_all_of_theirs() {
    let (world, recorder) = Recorder::before(&[]).await;
    let pause = Duration::from_secs(20);
    slow_answers(&world, 100, &[piece("one", 3), last("two", 5)], pause);
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut response = stream(&world).await;
        response.chunk().await.unwrap();
        streams.push(response);
    }
    assert_eq!(world.google.fake().counters().in_flight, 100);
    drop(streams);
    let took = silence(&world).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    for report in recorder.reports(100).await {
        assert_eq!(report.outcome(), Outcome::Cancelled);
        assert_eq!(report.usage.unwrap().candidates_tokens, 3);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_whole_answer_or_a_first_event_ends_it_too() {
    let (world, recorder) = Recorder::before(&[("KEEPALIVE_INTERVAL", "50ms")]).await;
    let fake = world.google.fake();
    let silent = || {
        Fault::once(Action::Delay {
            before_commit_ms: 0,
            before_headers_ms: 20_000,
            before_first_event_ms: 0,
            between_events_ms: 0,
        })
    };
    let bodies = [hello(), with(hello(), "stream", json!(true))];
    for (body, asked_before) in bodies.into_iter().zip(0..) {
        fake.script(silent());
        let request = world.client.post(world.url(0, "/v1/chat/completions"));
        let request = request.bearer_auth(API_KEY).body(body.to_string()).send();
        let asked = tokio::spawn(async { request.await.unwrap().bytes().await });
        eventually("Google is asked", || {
            fake.counters().generations() > asked_before
        })
        .await;
        asked.abort();
        let took = silence(&world).await;
        assert!(took < Duration::from_secs(1), "{body}: {took:?}");
    }
    for report in recorder.reports(2).await {
        assert_eq!(report.outcome(), Outcome::Cancelled);
        assert_eq!(report.usage, None);
    }
}

#[tokio::test]
async fn an_answer_is_read_on_where_that_is_wanted() {
    let (world, recorder) = Recorder::before(&[("HANG_UP_DRAIN", "10s")]).await;
    let pause = Duration::from_millis(700);
    slow_answers(&world, 1, &[piece("one", 3), last("two", 5)], pause);
    let mut response = stream(&world).await;
    response.chunk().await.unwrap();
    drop(response);
    // The whole answer of one who does not wait for it, too.
    slow_answers(&world, 1, &[last("whole", 9)], Duration::ZERO);
    gone_before_it_answers(&world).await;
    let mut reports = recorder.reports(2).await;
    reports.sort_by_key(|report| !report.stream);
    let told: Vec<_> = reports
        .iter()
        .map(|report| (report.outcome(), report.usage.unwrap().candidates_tokens))
        .collect();
    assert_eq!(told, [(Outcome::Ok, 5), (Outcome::Ok, 9)]);
    assert_eq!(world.google.fake().counters().aborted, 0);
}

#[tokio::test]
async fn it_is_read_on_within_bounds() {
    let (world, recorder) = Recorder::before(&[("HANG_UP_DRAIN", "30s")]).await;
    let pause = Duration::from_secs(20);
    // More than are read on at once.
    slow_answers(&world, 70, &[piece("one", 3), last("two", 5)], pause);
    let mut streams = Vec::new();
    for _ in 0..70 {
        let mut response = stream(&world).await;
        response.chunk().await.unwrap();
        streams.push(response);
    }
    let fake = world.google.fake();
    drop(streams);
    eventually("six are cut off", || fake.counters().in_flight == 64).await;
    recorder.reports(6).await;
    // And no longer than that.
    world.clock.advance(Duration::from_secs(31));
    let took = silence(&world).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    for report in recorder.reports(70).await {
        assert_eq!(report.outcome(), Outcome::Cancelled);
        assert_eq!(report.usage.unwrap().candidates_tokens, 3);
    }
    // Nor more of one than that.
    let text = "x".repeat(1 << 20);
    slow_answers(
        &world,
        1,
        &vec![piece(&text, 3); 40],
        Duration::from_millis(5),
    );
    let mut response = stream(&world).await;
    response.chunk().await.unwrap();
    drop(response);
    let reports = recorder.reports(71).await;
    assert_eq!(reports[70].outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn nobody_more_is_asked_for_who_has_gone() {
    let (world, recorder) = Recorder::before(&[("HANG_UP_DRAIN", "10s")]).await;
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Error {
        error: fake_google::ErrorName::Overloaded,
        form: fake_google::ErrorForm::Object,
        retry_after: None,
    }));
    gone_before_it_answers(&world).await;
    let reports = recorder.reports(1).await;
    assert_eq!(reports[0].outcome(), Outcome::UpstreamError);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fake.counters().generations(), 1);
}

#[tokio::test]
async fn a_gateway_that_ends_waits_for_no_answer_that_nobody_wants() {
    let (mut world, recorder) = Recorder::before(&[("HANG_UP_DRAIN", "60s")]).await;
    let pause = Duration::from_secs(20);
    slow_answers(&world, 1, &[piece("one", 3), last("two", 5)], pause);
    let mut response = stream(&world).await;
    response.chunk().await.unwrap();
    drop(response);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    world.end_gateways().await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let reports = recorder.reports(1).await;
    assert_eq!(reports[0].outcome(), Outcome::Cancelled);
    assert_eq!(reports[0].usage.unwrap().candidates_tokens, 3);
}
