//! Answers: whole and streamed, with tools, usage, models and health.

use fake_google::{Action, Fault};
use serde_json::{Value, json};

use crate::support::{MODEL, Setup, hello, with};

#[tokio::test]
async fn a_whole_answer_and_a_stream_say_the_same() {
    let world = Setup::default().start().await;
    let text = "Tell me \"this\"\nand that: é 😀 \u{0} \\";
    let body = json!({"model": MODEL, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": text}]}
    ], "max_tokens": 5000, "temperature": 0.5, "top_p": 0.9, "seed": 5_000_000_000_i64, "stop": ["XYZ"]});
    let whole = world.chat(&body).await;
    assert!(whole.content().contains(text), "{}", whole.body);
    let object = whole.json();
    assert_eq!(object["object"], "chat.completion");
    assert_eq!(object["model"], MODEL);
    assert_eq!(object["choices"][0]["finish_reason"], "stop");
    let usage = &object["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap();
    assert!(count("prompt_tokens") > 0 && count("completion_tokens") > 0);
    assert_eq!(
        count("total_tokens"),
        count("prompt_tokens") + count("completion_tokens")
    );

    let stream = with(
        with(body, "stream", json!(true)),
        "stream_options",
        json!({"include_usage": true}),
    );
    let streamed = world.chat(&stream).await;
    assert_eq!(
        streamed.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(streamed.streamed(), whole.content());
    let (chunks, done) = streamed.chunks();
    assert!(done);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], *usage);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(
        chunks[..chunks.len() - 1]
            .iter()
            .all(|chunk| chunk["usage"].is_null())
    );
}

#[tokio::test]
async fn every_upstream_answers() {
    for upstream in ["antigravity", "gemini", "vertex"] {
        let world = Setup::projects(&[("p1", upstream)]).start().await;
        let answer = world.chat(&hello()).await;
        assert!(answer.content().contains("Hello"), "{upstream}");
        let answer = world.chat(&with(hello(), "stream", json!(true))).await;
        assert!(answer.streamed().contains("Hello"), "{upstream}");
        assert!(answer.chunks().1);
    }
}

#[tokio::test]
async fn tools_are_called_and_answered_on_a_model_that_demands_its_signatures() {
    for (upstream, model) in [
        ("antigravity", "gemini-3-flash"),
        ("gemini", "gemini-3-pro-preview"),
        ("vertex", "gemini-3-pro-preview"),
    ] {
        let mut world = Setup::projects(&[("p1", upstream)]).start().await;
        let mut messages =
            vec![json!({"role": "user", "content": "Please call get_weather and get_time"})];
        let tool = |name: &str| {
            json!({"type": "function", "function": {"name": name, "description": "d",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
        };
        let tools = json!([tool("get_weather"), tool("get_time")]);
        let body =
            |messages: &[Value]| json!({"model": model, "messages": messages, "tools": tools});
        let answer = world.chat(&body(&messages)).await;
        assert_eq!(answer.status, 200, "{upstream}: {}", answer.body);
        let object = answer.json();
        assert_eq!(
            object["choices"][0]["finish_reason"], "tool_calls",
            "{upstream}: {object}"
        );
        let message = object["choices"][0]["message"].clone();
        let calls = message["tool_calls"].as_array().unwrap().clone();
        assert_eq!(calls.len(), 2, "{message}");
        // A client that drops what it does not know: only the ids are left to carry the signature.
        let bare: Vec<Value> = calls
            .iter()
            .map(|call| json!({"id": call["id"], "type": "function", "function": call["function"]}))
            .collect();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": bare}));
        for call in calls.iter().rev() {
            let arguments: Value =
                serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            assert!(arguments["city"].is_string());
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": format!("result of {}", call["function"]["name"])}));
        }
        // On another gateway, which knows nothing of the first: no gateway holds state.
        world.add_gateway().await;
        let answer = world.chat_on(1, &body(&messages)).await;
        assert!(
            answer.content().contains("result of"),
            "{upstream}: {}",
            answer.body
        );
        let counters = world.google.fake().counters();
        assert!(counters.signatures.real > 0, "{upstream}");
        assert_eq!(counters.signatures.dummy, 0, "{upstream}");
    }
}

#[tokio::test]
async fn ignored_parameters_are_named_and_refused_when_strict() {
    let world = Setup::default().start().await;
    let body = with(
        with(hello(), "user", json!("me")),
        "logit_bias",
        json!({"1": 2}),
    );
    let answer = world.chat(&body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-ignored-params"), Some("logit_bias,user"));
    let strict = Setup {
        environment: vec![("STRICT_PARAMS", "true".to_owned())],
        ..Setup::default()
    };
    let world = strict.start().await;
    let answer = world.chat(&body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["param"], "logit_bias");
}

#[tokio::test]
async fn streaming_can_be_the_default() {
    let setup = Setup {
        environment: vec![("DEFAULT_STREAM", "true".to_owned())],
        ..Setup::default()
    };
    let world = setup.start().await;
    assert!(world.chat(&hello()).await.chunks().1);
    assert!(
        world
            .chat(&with(hello(), "stream", json!(false)))
            .await
            .content()
            .contains("Hello")
    );
}

#[tokio::test]
async fn blocks_empty_answers_and_broken_streams_are_told_as_what_they_are() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    let fake = world.google.fake();
    for stream in [false, true] {
        let body = with(hello(), "stream", json!(stream));
        fake.script(Fault::once(Action::PromptBlocked {
            reason: "SAFETY".into(),
        }));
        let answer = world.chat(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(
            answer.body.contains("\"content_filter\"")
                && answer.body.contains("blocked by Gemini: SAFETY")
        );

        fake.script(Fault::once(Action::Safety));
        assert!(
            world
                .chat(&body)
                .await
                .body
                .contains("\"finish_reason\":\"content_filter\"")
        );

        // Nothing at all, once: asked again. Twice: told as it is.
        fake.script(Fault::once(Action::EmptyStop));
        let answer = world.chat(&body).await;
        assert!(answer.body.contains("Hello"), "{}", answer.body);
        fake.script(Fault::once(Action::EmptyStop).times(2));
        let answer = world.chat(&body).await;
        assert!(
            answer.status == 200
                && answer.body.contains("\"finish_reason\":\"stop\"")
                && !answer.body.contains("Hello")
        );

        // A broken answer is tried again while nothing has reached the client.
        fake.script(Fault::once(Action::MalformedFunctionCall));
        assert!(world.chat(&body).await.body.contains("Hello"));
    }
    // Cut after the client has seen something: an error event, and no [DONE].
    for action in [
        Action::Truncate { after_events: 1 },
        Action::Reset { after_events: 1 },
        Action::Close { after_events: 1 },
        Action::StreamError {
            error: fake_google::ErrorName::Overloaded,
            after_events: 1,
            form: fake_google::StreamErrorForm::Raw,
        },
        Action::StreamError {
            error: fake_google::ErrorName::Overloaded,
            after_events: 1,
            form: fake_google::StreamErrorForm::Event,
        },
    ] {
        let told = format!("{action:?}");
        let streamed = with(hello(), "stream", json!(true));
        // Together with its first event it may be that the client has seen nothing yet, and then
        // all of it is tried again.
        fake.script(Fault::once(action.clone()));
        let answer = world.chat(&streamed).await;
        let (chunks, done) = answer.chunks();
        let broke = chunks.last().unwrap()["error"]["message"].is_string();
        assert_ne!(done, broke, "{told}: {}", answer.body);
        fake.script(Fault::once(Action::Delay {
            before_commit_ms: 0,
            before_headers_ms: 0,
            before_first_event_ms: 0,
            between_events_ms: 50,
        }));
        fake.script(Fault::once(action));
        let answer = world.chat(&streamed).await;
        let (chunks, done) = answer.chunks();
        assert!(!done, "{told}: {}", answer.body);
        assert!(
            chunks.last().unwrap()["error"]["message"].is_string(),
            "{told}: {}",
            answer.body
        );
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk["choices"][0]["finish_reason"].is_null()),
            "{told}"
        );
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_the_same_answer() {
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    let body = with(hello(), "stream", json!(true));
    let whole = world.chat(&body).await.streamed();
    world
        .google
        .fake()
        .script(Fault::once(Action::OneByteWrites));
    assert_eq!(world.chat(&body).await.streamed(), whole);
}

#[tokio::test]
async fn what_has_come_is_told_while_the_upstream_is_silent() {
    let setup = Setup {
        environment: vec![("KEEPALIVE_INTERVAL", "50ms".to_owned())],
        ..Setup::projects(&[("p1", "antigravity")])
    };
    let world = setup.start().await;
    world
        .google
        .fake()
        .script(Fault::once(Action::Stall { after_events: 1 }));
    let mut response = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(crate::support::API_KEY)
        .body(with(hello(), "stream", json!(true)).to_string())
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !(seen.contains("\"content\":\"") && seen.contains(": keep-alive")) {
        let chunk = response.chunk().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    // Hanging up closes the upstream's request.
    drop(response);
    let fake = world.google.fake();
    crate::support::eventually("the upstream request is closed", || {
        fake.counters().aborted > 0
    })
    .await;
}

#[tokio::test]
async fn a_silent_upstream_gets_comments_and_then_its_answer() {
    let setup = Setup {
        environment: vec![("KEEPALIVE_INTERVAL", "30ms".to_owned())],
        ..Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
    };
    let world = setup.start().await;
    // The first attempt is slow and then fails: retries go on behind the comments.
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 150,
        before_first_event_ms: 0,
        between_events_ms: 0,
    }));
    fake.script(Fault::once(Action::Error {
        error: fake_google::ErrorName::Overloaded,
        form: fake_google::ErrorForm::Object,
        retry_after: None,
    }));
    let answer = world.chat(&with(hello(), "stream", json!(true))).await;
    assert!(
        answer.body.starts_with(": keep-alive\n\n"),
        "{}",
        answer.body
    );
    assert!(answer.streamed().contains("Hello") && answer.chunks().1);
}

#[tokio::test]
async fn models_are_listed_under_their_own_names() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "gemini")])
        .start()
        .await;
    let list = world.get("/v1/models").await;
    assert_eq!(list.status, 200, "{}", list.body);
    let list = list.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.contains(&MODEL) && ids.iter().any(|id| id.starts_with("claude")),
        "{ids:?}"
    );
    assert!(
        !ids.iter().any(|id| id.starts_with("chat_")
            || id.starts_with("tab_")
            || id.starts_with("models/"))
    );
    assert_eq!(
        world.get(&format!("/v1/models/{MODEL}")).await.json()["id"],
        MODEL
    );
    let unknown = world.get("/v1/models/nope/at/all").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
}

#[tokio::test]
async fn health_needs_no_key_and_turns_when_the_gateway_ends() {
    let world = Setup::default().start().await;
    for path in ["/health", "/livez", "/readyz"] {
        let answer = world.client.get(world.url(0, path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let gateway = &world.gateways[0];
    let url = world.url(0, "/readyz");
    assert!(
        world
            .client
            .get(&url)
            .send()
            .await
            .unwrap()
            .headers()
            .get("x-request-id")
            .is_some()
    );
    gateway.shutdown.drain.cancel();
    // The listener is gone at once, as SHUTDOWN_DELAY is nothing here.
    crate::support::eventually("the gateway has ended", || gateway.task.is_finished()).await;
}

#[tokio::test]
async fn a_folded_stream_that_breaks_off_is_no_whole_answer() {
    // Claude behind Code Assist is asked as a stream also for whole answers.
    let setup = Setup {
        environment: vec![("MAX_ATTEMPTS", "1".to_owned())],
        ..Setup::projects(&[("p1", "antigravity")])
    };
    let world = setup.start().await;
    let body = with(hello(), "model", json!("claude-sonnet-4-6"));
    assert!(world.chat(&body).await.content().contains("Hello"));
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Truncate { after_events: 1 }));
    let answer = world.chat(&body).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "upstream_invalid_response");
    // Nothing in it, and only one attempt: told as it is.
    fake.script(Fault::once(Action::EmptyStop));
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn text_that_came_with_the_error_is_told_before_it() {
    let world = Setup::projects(&[("p1", "gemini")]).start().await;
    let piece = |text: &str| json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]});
    let body = format!(
        "data: {}\r\n\r\ndata: {}\r\n\r\n{{\"error\": {{\"code\": 503, \"message\": \"overloaded\"}}}}",
        piece("one "),
        piece("two")
    );
    world.google.fake().script(Fault::once(Action::Raw {
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body,
    }));
    let setup = with(hello(), "stream", json!(true));
    let answer = world.chat(&setup).await;
    let (chunks, done) = answer.chunks();
    // In one read with its error nothing was sent yet, so it is tried anew; in two, it is told.
    if done {
        assert!(answer.streamed().contains("Hello"), "{}", answer.body);
    } else {
        assert_eq!(answer.streamed(), "one two");
        assert!(chunks.last().unwrap()["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn schemas_that_only_look_small_harm_nobody() {
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    for parameters in [
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {"b": {"type": "string"}}}]}),
    ] {
        let tools =
            json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]);
        let answer = world.chat(&with(hello(), "tools", tools)).await;
        assert!(
            answer.status == 200 || answer.status == 400,
            "{}",
            answer.body
        );
    }
}
