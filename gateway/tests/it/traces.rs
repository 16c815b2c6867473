//! Traces, as a collector gets them. The collector is a stand-in: it is made from
//! OpenTelemetry's published protocol, and keeps what it is sent.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use antigravity_traces::otlp::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use fake_google::{Action, ErrorName, Fault};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::{API_KEY, Answer, MODEL, Setup, World, error, eventually, hello, with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";
const GATEWAY: &str = "antigravity-gateway";
const TOKENS: &str = "antigravity-token-service";
const CHAT: &str = "POST /v1/chat/completions";
const ACQUIRE: &str = "antigravity.token.v1.TokenService/AcquireTokens";
const REPORT: &str = "antigravity.token.v1.TokenService/ReportOutcomes";

/// What the collector was sent.
#[derive(Clone, Default)]
struct Collector {
    sent: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    address: Option<SocketAddr>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        assert_eq!(
            request.metadata().get("x-planted").unwrap(),
            "planted secret"
        );
        self.sent.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A span with whose it is.
#[derive(Clone, Debug)]
struct Seen {
    service: String,
    span: Span,
}

impl Seen {
    fn get(&self, name: &str) -> Option<Any> {
        value(&self.span.attributes, name)
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Any::StringValue(text)) => text,
            other => panic!("{name} of {:?} is {other:?}", self.span),
        }
    }

    fn whole(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Any::IntValue(number)) => number,
            other => panic!("{name} of {:?} is {other:?}", self.span),
        }
    }

    fn took(&self) -> Duration {
        Duration::from_nanos(self.span.end_time_unix_nano - self.span.start_time_unix_nano)
    }

    fn is_error(&self) -> bool {
        let status = self.span.status.clone().unwrap_or_default();
        status.code() == StatusCode::Error
    }
}

fn value(attributes: &[KeyValue], name: &str) -> Option<Any> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.clone()?.value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Collector {
    async fn grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: Some(listener.local_addr().unwrap()),
            ..Self::default()
        };
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(this.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        this
    }

    async fn http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: Some(listener.local_addr().unwrap()),
            ..Self::default()
        };
        let kept = this.clone();
        let take = post(move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["x-planted"], "planted secret");
            let message = prost::Message::decode(body).unwrap();
            kept.sent.lock().push(message);
        });
        let router = Router::new().route("/v1/traces", take);
        tokio::spawn(async { axum::serve(listener, router).await });
        this
    }

    fn setup(&self, protocol: &str, projects: &[(&'static str, &'static str)]) -> Setup {
        let endpoint = format!("http://{}", self.address.unwrap());
        let google = fake_google::Config {
            keep_requests: 1,
            ..fake_google::Config::default()
        };
        Setup {
            google,
            environment: vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
                (
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "x-planted=planted%20secret".to_owned(),
                ),
            ],
            ..Setup::projects(projects)
        }
    }

    fn all(&self) -> Vec<Seen> {
        let sent = self.sent.lock();
        let resources = sent.iter().flat_map(|sent| &sent.resource_spans);
        let seen = resources.flat_map(|from| {
            let resource = from.resource.as_ref().unwrap();
            let Some(Any::StringValue(service)) = value(&resource.attributes, "service.name")
            else {
                panic!("a resource without a name");
            };
            let spans = from.scope_spans.iter().flat_map(|scope| &scope.spans);
            let seen = spans.map(move |span| Seen {
                service: service.clone(),
                span: span.clone(),
            });
            seen.collect::<Vec<_>>()
        });
        seen.collect()
    }

    /// The spans of the trace of a request, when they are all there: no parent lacks but the
    /// client's, and nothing more comes.
    async fn trace(&self, id: &str, client: &str) -> Trace {
        let mut before = 0;
        for _ in 0..40 {
            let spans: Vec<Seen> = self
                .all()
                .into_iter()
                .filter(|seen| hex(&seen.span.trace_id) == id)
                .collect();
            let whole = spans.iter().all(|seen| {
                let parent = &seen.span.parent_span_id;
                hex(parent) == client || spans.iter().any(|other| other.span.span_id == *parent)
            });
            if whole && !spans.is_empty() && spans.len() == before {
                return Trace(spans);
            }
            before = spans.len();
            // Each service sends what it has once a second.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        panic!("the trace {id} does not get whole: {:#?}", self.all());
    }
}

struct Trace(Vec<Seen>);

impl Trace {
    fn named(&self, service: &str, name: &str) -> Vec<&Seen> {
        let mut found: Vec<&Seen> = self
            .0
            .iter()
            .filter(|seen| seen.service == service && seen.span.name == name)
            .collect();
        found.sort_by_key(|seen| seen.span.start_time_unix_nano);
        found
    }

    fn one(&self, service: &str, name: &str) -> &Seen {
        let found = self.named(service, name);
        assert_eq!(found.len(), 1, "{name} in {:#?}", self.0);
        found[0]
    }

    fn attempts(&self) -> Vec<&Seen> {
        self.named(GATEWAY, &format!("chat {MODEL}"))
    }

    fn is_in(&self, inner: &Seen, outer: &Seen) -> bool {
        let mut at = inner;
        while at.span.parent_span_id != outer.span.span_id {
            let parent = |seen: &&Seen| seen.span.span_id == at.span.parent_span_id;
            match self.0.iter().find(parent) {
                Some(found) => at = found,
                None => return false,
            }
        }
        true
    }

    /// Each span is within its parent's time. A microsecond lies between two looks at the clock.
    fn is_nested(&self) {
        const SLACK: u64 = 1_000_000;
        for Seen { span, .. } in &self.0 {
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            let parent = |seen: &&Seen| seen.span.span_id == span.parent_span_id;
            if let Some(Seen { span: parent, .. }) = self.0.iter().find(parent) {
                assert!(
                    span.start_time_unix_nano + SLACK >= parent.start_time_unix_nano
                        && span.end_time_unix_nano <= parent.end_time_unix_nano + SLACK,
                    "{span:#?} is not within {parent:#?}"
                );
            }
        }
    }
}

/// A trace id of its own for each request of a test.
fn trace_id(nth: u8) -> String {
    format!("{}{nth:02x}", &TRACE[..30])
}

async fn traced(world: &World, trace: &str, body: &serde_json::Value) -> reqwest::Response {
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    request
        .bearer_auth(API_KEY)
        .header("traceparent", format!("00-{trace}-{CLIENT}-01"))
        .header("tracestate", "vendor=their-own")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

fn delay(before_headers_ms: u64, between_events_ms: u64) -> Fault {
    Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms,
        before_first_event_ms: 0,
        between_events_ms,
    })
}

fn within(time: Duration, least: u64, most: u64) {
    let range = Duration::from_millis(least)..Duration::from_millis(most);
    assert!(range.contains(&time), "{time:?}");
}

#[tokio::test]
async fn a_trace_arrives_whole_from_client_to_google_and_token_service() {
    let collector = Collector::grpc().await;
    let mut world = collector.setup("grpc", &[("p1", "gemini")]).start().await;
    world.google.fake().script(delay(300, 0));
    let answer = Answer::of(traced(&world, TRACE, &hello()).await).await;
    let usage = &answer.json()["usage"];
    let trace = collector.trace(TRACE, CLIENT).await;
    trace.is_nested();

    let request = trace.one(GATEWAY, CHAT);
    assert_eq!(request.span.kind(), SpanKind::Server);
    assert_eq!(hex(&request.span.parent_span_id), CLIENT);
    assert_eq!(request.span.trace_state, "vendor=their-own");
    assert_eq!(request.text("http.request.method"), "POST");
    assert_eq!(request.text("http.route"), "/v1/chat/completions");
    assert_eq!(request.whole("http.response.status_code"), 200);
    assert_eq!(request.text("antigravity.api_key.name"), "tests");
    assert_eq!(
        request.text("antigravity.request.id"),
        answer.header("x-request-id").unwrap()
    );
    assert!(!request.is_error());

    let [attempt] = trace.attempts()[..] else {
        panic!("{:#?}", trace.0)
    };
    assert_eq!(attempt.span.kind(), SpanKind::Client);
    assert_eq!(attempt.span.parent_span_id, request.span.span_id);
    assert_eq!(attempt.text("gen_ai.operation.name"), "chat");
    assert_eq!(attempt.text("gen_ai.provider.name"), "gcp.gemini");
    assert_eq!(attempt.text("gen_ai.request.model"), MODEL);
    assert_eq!(attempt.text("server.address"), "localhost");
    assert_eq!(attempt.text("antigravity.project.id"), "p1");
    assert_eq!(
        attempt.whole("gen_ai.usage.input_tokens"),
        usage["prompt_tokens"].as_i64().unwrap()
    );
    assert_eq!(
        attempt.whole("gen_ai.usage.output_tokens"),
        usage["completion_tokens"].as_i64().unwrap()
    );
    let reasons = format!("{:?}", attempt.get("gen_ai.response.finish_reasons"));
    assert!(reasons.contains("\"stop\""), "{reasons}");
    within(attempt.took(), 300, 1500);
    assert!(request.took() >= attempt.took());

    // Through gRPC: one call, told by both of its ends.
    let acquire = trace.one(GATEWAY, "acquire token");
    let asked = trace.one(GATEWAY, ACQUIRE);
    let answered = trace.one(TOKENS, ACQUIRE);
    assert_eq!(acquire.span.parent_span_id, request.span.span_id);
    assert_eq!(asked.span.parent_span_id, acquire.span.span_id);
    assert_eq!(answered.span.parent_span_id, asked.span.span_id);
    assert_eq!(asked.span.kind(), SpanKind::Client);
    assert_eq!(answered.span.kind(), SpanKind::Server);
    assert_eq!(answered.text("rpc.response.status_code"), "OK");
    assert!(acquire.span.end_time_unix_nano <= attempt.span.start_time_unix_nano);

    // Reports are no part of a request, and make traces of their own.
    world.end_gateways().await;
    world.stop_tokens().await;
    let all = collector.all();
    let report = |service: &str| {
        let found = all
            .iter()
            .find(|seen| seen.service == service && seen.span.name == REPORT);
        found.unwrap().span.clone()
    };
    assert_eq!(report(TOKENS).parent_span_id, report(GATEWAY).span_id);
    assert_ne!(hex(&report(GATEWAY).trace_id), TRACE);

    // Google is told nothing of it, and the collector no secret, prompt or answer.
    let received = world.google.fake().requests().pop().unwrap();
    assert!(!received.headers.contains_key("traceparent"));
    assert!(!received.headers.contains_key("tracestate"));
    let told = format!("{:?}", collector.sent.lock());
    let said = answer.content();
    for secret in [
        API_KEY,
        "Hello",
        said.as_str(),
        "ya29.",
        "1//",
        "planted-gateway-token",
        "planted secret",
        fake_google::CLIENT_SECRET,
    ] {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn retries_are_spans_and_a_refresh_is_within_the_call_that_waits_for_it() {
    let collector = Collector::grpc().await;
    let world = collector.setup("grpc", &[("p1", "antigravity"), ("p2", "antigravity")]);
    let world = world.start().await;
    world.chat(&hello()).await.content();
    let fake = world.google.fake();
    fake.script(Fault::once(error(ErrorName::Unauthenticated, None)));
    fake.script(Fault::once(error(ErrorName::RateLimited, Some(60.0))));
    let answer = Answer::of(traced(&world, TRACE, &hello()).await).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let trace = collector.trace(TRACE, CLIENT).await;
    trace.is_nested();
    let request = trace.one(GATEWAY, CHAT);
    let [refused, limited, good] = trace.attempts()[..] else {
        panic!("{:#?}", trace.0)
    };
    assert_eq!(request.whole("antigravity.attempts"), 3);
    assert_eq!(refused.text("error.type"), "unauthenticated");
    assert_eq!(refused.whole("http.response.status_code"), 401);
    assert_eq!(refused.get("http.request.resend_count"), None);
    assert_eq!(limited.text("error.type"), "rate_limited");
    assert_eq!(limited.whole("http.request.resend_count"), 1);
    assert_eq!(good.whole("http.request.resend_count"), 2);
    assert_ne!(
        limited.text("antigravity.project.id"),
        good.text("antigravity.project.id")
    );
    assert!(refused.is_error() && limited.is_error() && !good.is_error());
    assert!(!request.is_error());
    assert!(refused.span.end_time_unix_nano <= limited.span.start_time_unix_nano);
    assert!(limited.span.end_time_unix_nano <= good.span.start_time_unix_nano);
    let replace = trace.one(GATEWAY, "replace token");
    let refresh = trace.one(TOKENS, "refresh access token");
    assert_eq!(
        refresh.text("antigravity.project.id"),
        refused.text("antigravity.project.id")
    );
    assert!(trace.is_in(refresh, replace));
    let asked = trace.one(TOKENS, "POST");
    assert_eq!(asked.span.parent_span_id, refresh.span.span_id);
}

#[tokio::test]
async fn streams_errors_and_hang_ups_are_told_as_what_they_were() {
    let collector = Collector::http().await;
    let world = collector.setup("http/protobuf", &[("p1", "gemini")]);
    let world = world.start().await;
    let fake = world.google.fake();
    let streamed = with(hello(), "stream", json!(true));

    fake.script(delay(200, 100));
    let stream = Answer::of(traced(&world, &trace_id(1), &streamed).await).await;
    let (chunks, done) = stream.chunks();
    assert!(done && chunks.len() > 1);
    let trace = collector.trace(&trace_id(1), CLIENT).await;
    trace.is_nested();
    let [attempt] = trace.attempts()[..] else {
        panic!("{:#?}", trace.0)
    };
    let Some(Any::DoubleValue(first)) = attempt.get("gen_ai.response.time_to_first_chunk") else {
        panic!("{attempt:?}")
    };
    within(Duration::from_secs_f64(first), 200, 1500);
    assert!(attempt.took() >= Duration::from_millis(300), "{attempt:?}");
    assert!(trace.one(GATEWAY, CHAT).took() >= attempt.took());

    // The client's fault is no error of the server's.
    let wrong = json!({"model": MODEL});
    traced(&world, &trace_id(2), &wrong).await;
    let trace = collector.trace(&trace_id(2), CLIENT).await;
    let request = trace.one(GATEWAY, CHAT);
    assert_eq!(request.whole("http.response.status_code"), 400);
    assert_eq!(request.text("error.type"), "missing_required_parameter");
    assert!(!request.is_error() && trace.attempts().is_empty());

    // A stream that breaks has begun with 200, and is an error all the same.
    fake.script(delay(0, 50));
    fake.script(Fault::once(Action::Close { after_events: 1 }));
    let broken = traced(&world, &trace_id(3), &streamed).await;
    broken.bytes().await.unwrap();
    let trace = collector.trace(&trace_id(3), CLIENT).await;
    trace.is_nested();
    let request = trace.one(GATEWAY, CHAT);
    assert_eq!(request.whole("http.response.status_code"), 200);
    assert_eq!(request.text("error.type"), "upstream_unreachable");
    assert!(request.is_error());
    assert_eq!(trace.attempts()[0].text("error.type"), "transport");

    // Who hangs up makes no error.
    fake.script(Fault::once(Action::Stall { after_events: 1 }));
    let mut left = traced(&world, &trace_id(4), &streamed).await;
    left.chunk().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(left);
    let trace = collector.trace(&trace_id(4), CLIENT).await;
    trace.is_nested();
    let request = trace.one(GATEWAY, CHAT);
    assert_eq!(
        request.get("antigravity.cancelled"),
        Some(Any::BoolValue(true))
    );
    within(request.took(), 200, 3000);
    assert!(!request.is_error() && !trace.attempts()[0].is_error());

    // A name of 10 KB is told in part, wherever it comes from.
    let long = with(hello(), "model", json!("m".repeat(10_240)));
    traced(&world, &trace_id(5), &long).await;
    world
        .get(&format!("/v1/models/{}", "m".repeat(10_240)))
        .await;
    collector.trace(&trace_id(5), CLIENT).await;
    let shown = "GET /v1/models/{id}";
    let is_shown = || {
        collector
            .all()
            .into_iter()
            .find(|seen| seen.span.name == shown)
    };
    eventually("its span", || is_shown().is_some()).await;
    assert!(is_shown().unwrap().text("url.path").len() <= 256);
    let told = format!("{:?}", collector.sent.lock());
    assert!(!told.contains(&"m".repeat(257)));
}

#[tokio::test]
async fn who_is_traced_is_said_by_the_client_or_else_by_the_sampler() {
    let collector = Collector::grpc().await;
    let mut setup = collector.setup("grpc", &[("p1", "gemini")]);
    let to_google = ("TRACE_CONTEXT_TO_GOOGLE", "true".to_owned());
    setup.environment.push(to_google);
    let mut world = setup.start().await;
    let ask = async |parent: &str| {
        let request = world.client.post(world.url(0, "/v1/chat/completions"));
        let request = request.bearer_auth(API_KEY).header("traceparent", parent);
        let answer = request.body(hello().to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let received = world.google.fake().requests().pop().unwrap();
        assert!(!received.headers.contains_key("tracestate"));
        received.headers["traceparent"].clone()
    };
    let not = trace_id(9);
    let unsampled = ask(&format!("00-{not}-{CLIENT}-00")).await;
    assert!(unsampled.starts_with(&format!("00-{not}-")) && unsampled.ends_with("-00"));
    let wrong = trace_id(8);
    let own = ask(&format!("00-{}-{CLIENT}-01", wrong.to_uppercase())).await;
    assert!(!own.contains(&wrong), "{own}");
    assert!(own.ends_with("-01"), "{own}");
    world.get("/livez").await;
    world.end_gateways().await;
    world.stop_tokens().await;
    let all = collector.all();
    assert!(all.iter().all(|seen| hex(&seen.span.trace_id) != not));
    let requests = all.iter().filter(|seen| seen.span.name == CHAT);
    let requests: Vec<_> = requests.collect();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert!(own.contains(&hex(&requests[0].span.trace_id)));
    assert!(requests[0].span.parent_span_id.is_empty());
}

/// A collector that takes connections and says nothing.
#[tokio::test]
async fn a_collector_that_hangs_or_is_away_stops_nobody() {
    for protocol in ["grpc", "http/protobuf"] {
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = fake_google::unused_address().unwrap();
        let addresses = [hanging.local_addr().unwrap(), gone];
        for address in addresses {
            let collector = Collector {
                address: Some(address),
                ..Collector::default()
            };
            let mut world = collector.setup(protocol, &[("p1", "gemini")]).start().await;
            world.chat(&hello()).await.content();
            let began = std::time::Instant::now();
            for _ in 0..50 {
                world.chat(&hello()).await.content();
            }
            let took = began.elapsed();
            assert!(took < Duration::from_secs(5), "{took:?}");
            // The export is under way.
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let began = std::time::Instant::now();
            world.end_gateways().await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?}");
            world.stop_tokens().await;
        }
    }
}

#[tokio::test]
async fn a_line_names_the_trace_that_it_is_in() {
    let kept = crate::request_lines::Kept::start();
    let collector = Collector::grpc().await;
    let world = collector.setup("grpc", &[("p1", "gemini")]).start().await;
    let answer = Answer::of(traced(&world, TRACE, &hello()).await).await;
    let line = kept.of(answer.header("x-request-id").unwrap()).await;
    assert_eq!(line["trace_id"], TRACE);
    eventually("its spans", || !collector.all().is_empty()).await;
}

#[tokio::test]
async fn a_sampler_that_asks_nobody_takes_no_ids_from_clients() {
    let collector = Collector::http().await;
    let mut setup = collector.setup("http/protobuf", &[("p1", "gemini")]);
    setup
        .environment
        .push(("OTEL_TRACES_SAMPLER", "traceidratio".to_owned()));
    let world = setup.start().await;
    let answer = traced(&world, TRACE, &hello()).await;
    assert_eq!(answer.status(), 200);
    for _ in 0..100 {
        if collector.all().iter().any(|seen| seen.span.name == CHAT) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spans = collector.all();
    let chat = spans.iter().find(|seen| seen.span.name == CHAT).unwrap();
    assert!(chat.span.parent_span_id.is_empty());
    assert!(spans.iter().all(|seen| hex(&seen.span.trace_id) != TRACE));
}
