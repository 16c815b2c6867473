//! The methods of a model: generate, stream, count, embed. Who may, with which model, and what comes back.

use http::Response;
use http::header::{HeaderName, HeaderValue};

use crate::accounts::random;
use crate::answer::{Ask, Candidate, Origin, Rendering, merge, speak};
use crate::authorization::Caller;
use crate::catalogue::{Family, Kind, Model, Upstream};
use crate::counters::fingerprint;
use crate::embedding;
use crate::endpoint::Endpoint;
use crate::fault::{Action, Plan, Subject};
use crate::framing;
use crate::intervention::{Met, intervene};
use crate::json::{Json, object};
use crate::named::OLD_CLIENT;
use crate::recording::{self, ReceivedRequest};
use crate::reply::{self, Body};
use crate::router::Exchange;
use crate::status::Status;
use crate::wire;

/// Answers a method of a model.
///
/// # Errors
/// The reason to reset the HTTP/2 stream with.
pub(crate) async fn answer(
    exchange: &mut Exchange,
    body: &[u8],
) -> Result<Response<Body>, h2::Error> {
    let document = match Json::parse(body) {
        Ok(document) => document,
        Err(error) => return Ok(exchange.error(&not_json(&error))),
    };
    exchange.name_project(&document);
    let named = model_of(exchange, &document);
    exchange.fake.receive(|| ReceivedRequest {
        endpoint: exchange.route.endpoint,
        upstream: exchange.route.upstream.unwrap_or(Upstream::CodeAssist),
        project: exchange.project.clone(),
        model: named.clone(),
        headers: recording::harmless(&exchange.headers),
        body: serde_json::from_slice(body).unwrap_or_default(),
    });
    let caller = exchange.caller();
    if exchange.route.endpoint.generates() {
        let secret = caller.as_ref().map_or("", Caller::secret);
        exchange
            .fake
            .count_generation(&exchange.project, &named, secret);
    }
    let caller = match caller {
        Ok(caller) => caller,
        Err(status) => return Ok(exchange.error(&status)),
    };
    let plan = exchange.fake.meet(&Subject {
        endpoint: Some(exchange.route.endpoint),
        upstream: exchange.route.upstream,
        projects: std::slice::from_ref(&exchange.project),
        model: Some(&named),
        refresh_token: None,
    });
    let plan = match intervene(exchange, plan, &named).await? {
        Met::Answered(response) => return Ok(response),
        Met::Goes(plan) => plan,
    };
    let answered = method(exchange, &caller, &document, &named, &plan);
    exchange.before_headers(&plan).await;
    Ok(answered.unwrap_or_else(|status| exchange.error(&status)))
}

fn not_json(error: &serde_json::Error) -> Status {
    let message = format!("Invalid JSON payload received. {error}");
    Status::invalid_argument(&message).violations(&[(String::new(), message.clone())])
}

/// The bare id of the model, from the path or from Code Assist's body.
fn model_of(exchange: &Exchange, document: &Json) -> String {
    let inner = document
        .get("request")
        .and_then(|request| request.get("model"));
    let named = match &exchange.route.name {
        Some(name) => name.as_str(),
        None => document
            .get("model")
            .or(inner)
            .and_then(Json::as_str)
            .unwrap_or_default(),
    };
    named.rsplit('/').next().unwrap_or_default().to_owned()
}

fn method(
    exchange: &Exchange,
    caller: &Caller,
    document: &Json,
    named: &str,
    plan: &Plan,
) -> Result<Response<Body>, Status> {
    let upstream = exchange.route.upstream.unwrap_or(Upstream::CodeAssist);
    let endpoint = exchange.route.endpoint;
    exchange.check_project(caller, endpoint.generates(), named)?;
    let context = exchange.context(named);
    let model = exchange
        .fake
        .model(named, upstream)
        .ok_or_else(|| context.model_not_found())?;
    let embeds = matches!(
        endpoint,
        Endpoint::EmbedContent | Endpoint::BatchEmbedContents
    );
    if embeds != (model.kind == Kind::Embedding) && endpoint != Endpoint::CountTokens {
        return Err(context.model_not_found());
    }
    let leniency = leniency(exchange, &model);
    let mut seen = wire::Seen::default();
    let checked = wire::check(document, &context, leniency, &mut seen);
    count_signatures(exchange, seen);
    checked?;
    let empty = object! {};
    let request = match upstream {
        Upstream::CodeAssist => document.get("request").unwrap_or(&empty),
        Upstream::Gemini | Upstream::Vertex => document,
    };
    match endpoint {
        Endpoint::CountTokens => Ok(count_tokens(request, upstream)),
        Endpoint::EmbedContent => Ok(reply::json(200, &embedding::one(request))),
        Endpoint::BatchEmbedContents => Ok(reply::json(200, &embedding::batch(request))),
        _ => {
            let ask = Ask::new(request);
            let tokens = ask.prompt_tokens();
            if tokens > model.input_token_limit {
                return Err(context.context_length(tokens, model.input_token_limit));
            }
            if let Caller::Account(account, _) = caller {
                let spent = exchange.fake.spend(*account, model.group());
                spent.map_err(|(left, limit)| context.window_used_up(left, limit))?;
            }
            Ok(generate(exchange, &ask, &model, upstream, plan))
        }
    }
}

fn leniency(exchange: &Exchange, model: &Model) -> wire::Leniency {
    let config = exchange.fake.config();
    wire::Leniency {
        any_signature: config.accept_any_signature,
        penalties: config.penalties,
        logprobs: config.logprobs,
        max_candidates: config.max_candidates,
        thinks: model.thinks() || config.accept_any_model,
    }
}

fn count_signatures(exchange: &Exchange, seen: wire::Seen) {
    let mut counters = exchange.fake.tally();
    counters.signatures.real += seen.real;
    counters.signatures.dummy += seen.dummy;
    counters.signatures.corrupt += seen.corrupt;
    counters.signatures.missing += seen.missing;
}

fn count_tokens(request: &Json, upstream: Upstream) -> Response<Body> {
    let request = request
        .either("generateContentRequest", "generate_content_request")
        .unwrap_or(request);
    let tokens = Ask::new(request).prompt_tokens();
    let mut counted = object! { "totalTokens": tokens };
    match upstream {
        Upstream::CodeAssist => {}
        Upstream::Gemini => {
            counted.set(
                "promptTokensDetails",
                [object! { "modality": "TEXT", "tokenCount": tokens }],
            );
        }
        Upstream::Vertex => {
            counted.set("totalBillableCharacters", tokens * 4);
            counted.set(
                "promptTokensDetails",
                [object! { "modality": "TEXT", "tokenCount": tokens }],
            );
        }
    }
    reply::json(200, &counted)
}

fn generate(
    exchange: &Exchange,
    ask: &Ask<'_>,
    model: &Model,
    upstream: Upstream,
    plan: &Plan,
) -> Response<Body> {
    let origin = Origin {
        upstream,
        response_id: response_id(model),
        create_time: exchange
            .fake
            .timestamp()
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string(),
    };
    let mut candidates: Vec<Candidate> = (0..ask.candidate_count())
        .map(|nth| speak(ask, model, upstream, nth))
        .collect();
    if let Some(action) = &plan.action {
        candidates
            .iter_mut()
            .for_each(|candidate| bend(candidate, action));
    }
    let rendering = Rendering::new(ask, model, origin, candidates);
    let trace_id = fingerprint(&random()) + &fingerprint(&random());
    let streams = exchange.route.endpoint == Endpoint::StreamGenerateContent;
    let envelope = |response: Json| match upstream {
        Upstream::CodeAssist => {
            object! { "response": response, "traceId": &trace_id, "metadata": object! {} }
        }
        Upstream::Gemini | Upstream::Vertex => response,
    };
    let events = events(
        &rendering,
        plan,
        exchange.fake.config().text_chunks,
        streams,
    );
    exchange.fake.tally().signatures.issued += events.iter().map(signed_calls).sum::<u64>();
    let mut response = if streams {
        let events: Vec<Json> = events.into_iter().map(envelope).collect();
        framing::stream(exchange, plan, &events, &model.id)
    } else {
        let whole = match events.as_slice() {
            [event] => event.clone(),
            several => merge(several),
        };
        framing::document(exchange, plan, &envelope(whole))
    };
    if upstream == Upstream::CodeAssist
        && let Ok(trace_id) = HeaderValue::from_str(&trace_id)
    {
        response.headers_mut().insert(
            HeaderName::from_static("x-cloudaicompanion-trace-id"),
            trace_id,
        );
    }
    response
}

/// What a script makes of an answer.
fn bend(candidate: &mut Candidate, action: &Action) {
    match action {
        Action::Text { text } => candidate.says(text),
        Action::OldClientText => candidate.says(OLD_CLIENT),
        Action::Safety => candidate.break_off("SAFETY"),
        Action::Finish { reason } => *candidate = Candidate::silent(reason, None),
        Action::EmptyStop => *candidate = Candidate::silent("STOP", None),
        Action::MalformedFunctionCall => {
            let message = "Malformed function call: print(default_api.foo(a=1))";
            *candidate = Candidate::silent("MALFORMED_FUNCTION_CALL", Some(message));
        }
        _ => {}
    }
}

fn events(rendering: &Rendering<'_>, plan: &Plan, text_chunks: usize, streams: bool) -> Vec<Json> {
    let mut events = match &plan.action {
        Some(Action::PromptBlocked { reason }) => return vec![rendering.blocked(reason)],
        Some(Action::Answer { chunks }) => return chunks.iter().map(Json::from).collect(),
        _ if streams => rendering.events(text_chunks),
        _ => vec![rendering.unary()],
    };
    match &plan.action {
        Some(Action::UsageLast) if streams => {
            if let Some(Json::Object(last)) = events.last_mut()
                && let Some(usage) = last.shift_remove("usageMetadata")
            {
                let mut late = last.clone();
                late.shift_remove("candidates");
                late.insert("usageMetadata".to_owned(), usage);
                events.push(Json::Object(late));
            }
        }
        Some(Action::TwoStops) if streams => {
            let stop = object! { "content": object! { "role": "model", "parts": [object! { "text": "" }] }, "finishReason": "STOP" };
            if let Some(mut again) = events.last().cloned() {
                again.set("candidates", [stop]);
                events.push(again);
            }
        }
        Some(Action::Truncate { .. }) => events.iter_mut().for_each(unfinish),
        _ => {}
    }
    events
}

/// The function calls of an event that are signed.
fn signed_calls(event: &Json) -> u64 {
    let candidates = event.get("candidates").map(Json::items).unwrap_or_default();
    let parts = candidates
        .iter()
        .filter_map(|candidate| candidate.get("content")?.get("parts"));
    parts
        .flat_map(Json::items)
        .filter(|part| part.get("functionCall").is_some() && part.get("thoughtSignature").is_some())
        .count() as u64
}

fn unfinish(event: &mut Json) {
    let Json::Object(fields) = event else { return };
    fields.shift_remove("usageMetadata");
    if let Some(Json::Array(candidates)) = fields.get_mut("candidates") {
        for candidate in candidates {
            if let Json::Object(candidate) = candidate {
                candidate.shift_remove("finishReason");
            }
        }
    }
}

fn response_id(model: &Model) -> String {
    let random = random();
    match model.family() {
        Family::Claude => format!("msg_vrtx_01{}", fingerprint(&random)),
        Family::Gemini | Family::Gpt => random.chars().take(23).collect(),
    }
}
