//! What clients do wrong, and what they are told: the right status and param, quickly,
//! and the gateway lives on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{API_KEY, MODEL, Setup, World, hello, with};

async fn refused(world: &World, body: &str) -> (u16, Value) {
    let request = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(API_KEY)
        .body(body.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let error = &body["error"];
    assert!(
        error["message"].is_string() && error["type"].is_string(),
        "{body}"
    );
    assert!(
        error.get("param").is_some() && error.get("code").is_some(),
        "{body}"
    );
    (status, error.clone())
}

#[tokio::test]
async fn wrong_requests_are_named() {
    let world = Setup::default().start().await;
    let user = |content: Value| json!({"model": MODEL, "messages": [{"role": "user", "content": content}]});
    let message = |message: Value| json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}, message]});
    let tool = |function: Value| {
        with(
            hello(),
            "tools",
            json!([{"type": "function", "function": function}]),
        )
    };
    let cases: Vec<(String, Option<&str>)> = vec![
        ("{".into(), None),
        ("[]".into(), None),
        ("\"x\"".into(), None),
        ("".into(), None),
        (json!({"messages": []}).to_string(), Some("model")),
        (json!({"model": 5, "messages": []}).to_string(), Some("model")),
        (json!({"model": "", "messages": []}).to_string(), Some("model")),
        (json!({"model": "../../x", "messages": []}).to_string(), Some("model")),
        (json!({"model": MODEL}).to_string(), Some("messages")),
        (json!({"model": MODEL, "messages": []}).to_string(), Some("messages")),
        (json!({"model": MODEL, "messages": {}}).to_string(), Some("messages")),
        (json!({"model": MODEL, "messages": [5]}).to_string(), Some("messages[0]")),
        (json!({"model": MODEL, "messages": [{"content": "x"}]}).to_string(), Some("messages[0].role")),
        (json!({"model": MODEL, "messages": [{"role": "wizard", "content": "x"}]}).to_string(), Some("messages[0].role")),
        (user(json!(5)).to_string(), Some("messages[0].content")),
        (user(Value::Null).to_string(), Some("messages[0].content")),
        (user(json!([])).to_string(), Some("messages[0].content")),
        (user(json!([{"type": "text"}])).to_string(), Some("messages[0].content[0].text")),
        (user(json!([{"type": "hologram"}])).to_string(), Some("messages[0].content[0].type")),
        (user(json!([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}])).to_string(), Some("messages[0].content[0].image_url.url")),
        (user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,é"}}])).to_string(), Some("messages[0].content[0].image_url.url")),
        (message(json!({"role": "assistant"})).to_string(), Some("messages[1].content")),
        (message(json!({"role": "tool", "tool_call_id": "nope", "content": "x"})).to_string(), Some("messages[1].tool_call_id")),
        (message(json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]})).to_string(), Some("messages[1].tool_calls[0].function.arguments")),
        (with(hello(), "temperature", json!(3)).to_string(), Some("temperature")),
        (with(hello(), "temperature", json!("hot")).to_string(), Some("temperature")),
        (with(hello(), "top_p", json!(-0.1)).to_string(), Some("top_p")),
        (with(hello(), "max_tokens", json!(0)).to_string(), Some("max_tokens")),
        (with(hello(), "n", json!(99)).to_string(), Some("n")),
        (with(hello(), "stop", json!(["a", ""])).to_string(), Some("stop[1]")),
        (with(hello(), "stream", json!("yes")).to_string(), Some("stream")),
        (with(hello(), "stream_options", json!({})).to_string(), Some("stream_options")),
        (with(hello(), "tool_choice", json!("required")).to_string(), Some("tool_choice")),
        (with(hello(), "tools", json!([{"type": "custom"}])).to_string(), Some("tools[0].type")),
        (tool(json!({})).to_string(), Some("tools[0].function.name")),
        (tool(json!({"name": ""})).to_string(), Some("tools[0].function.name")),
        (tool(json!({"name": "f", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}})).to_string(), Some("tools[0].function.parameters.properties.a.$ref")),
        (tool(json!({"name": "f", "parameters": "x"})).to_string(), Some("tools[0].function.parameters")),
        (with(with(hello(), "reasoning_effort", json!("low")), "google", json!({"thinking_config": {"thinking_budget": 1}})).to_string(), Some("reasoning_effort")),
        (with(hello(), "top_logprobs", json!(3)).to_string(), Some("top_logprobs")),
        (with(hello(), "modalities", json!(["text", "smell"])).to_string(), Some("modalities[1]")),
        (with(hello(), "reasoning_effort", json!("extreme")).to_string(), Some("reasoning_effort")),
        (with(hello(), "response_format", json!({"type": "xml"})).to_string(), Some("response_format.type")),
        (format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"a\ud800"}}]}}"#), Some("messages[0].content")),
        (format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{{"properties":{{"\udfff":{{}}}}}}}}}}]}}"#), Some("tools[0].function.parameters")),
        (
            format!(
                r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"x","k\ud800":1}}]}}"#
            ),
            Some("messages[0]"),
        ),
    ];
    for (body, param) in cases {
        let (status, error) = refused(&world, &body).await;
        assert_eq!(
            (status, error["param"].as_str()),
            (400, param),
            "{body}: {error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    assert_eq!(world.chat(&hello()).await.status, 200);
    assert_eq!(
        world.google.fake().counters().generations(),
        1,
        "wrong requests go nowhere"
    );
}

#[tokio::test]
async fn unknown_models_paths_methods_and_keys() {
    let world = Setup::default().start().await;
    let answer = world
        .chat(&with(hello(), "model", json!("gemini-99-nonsense")))
        .await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
    assert_eq!(answer.json()["error"]["param"], "model");

    let answer = world.get("/v1/embeddings-of-tomorrow").await;
    assert_eq!(answer.status, 404);
    let message = answer.json()["error"]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.contains("/v1/embeddings-of-tomorrow") && message.contains("/v1/chat/completions")
    );

    let answer = world.get("/v1/models/%ff%2").await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");

    let answer = world.get("/v1/chat/completions").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.json()["error"]["code"], "method_not_allowed");

    for (key, path) in [
        (None, "/v1/models"),
        (Some("sk-wrong"), "/v1/models"),
        (Some(""), "/v1/models"),
    ] {
        let mut request = world.client.get(world.url(0, path));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        let body = response.text().await.unwrap();
        assert!(
            body.contains("invalid_api_key")
                && !body.contains("sk-wrong")
                && !body.contains(API_KEY),
            "{body}"
        );
    }
}

async fn raw(world: &World, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(world.gateways[0].address).await.unwrap();
    for part in parts {
        stream.write_all(part).await.unwrap();
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(
        read.is_ok(),
        "no answer: {}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(extra: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n{extra}\r\n"
    )
}

#[tokio::test]
async fn bodies_that_are_too_large_never_end_or_are_no_text() {
    let setup = Setup {
        environment: vec![
            ("MAX_BODY_BYTES", "1000".to_owned()),
            ("BODY_TIMEOUT", "200ms".to_owned()),
        ],
        ..Setup::default()
    };
    let world = setup.start().await;
    let announced = raw(&world, &[head("Content-Length: 5000\r\n").as_bytes()]).await;
    assert!(
        announced.starts_with("HTTP/1.1 413") && announced.contains("request_too_large"),
        "{announced}"
    );
    let chunk = format!("7d0\r\n{}\r\n", "x".repeat(2000));
    let chunked = raw(
        &world,
        &[
            head("Transfer-Encoding: chunked\r\n").as_bytes(),
            chunk.as_bytes(),
        ],
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    let began = Instant::now();
    let stalled = raw(&world, &[head("Content-Length: 50\r\n").as_bytes(), b"{"]).await;
    assert!(
        stalled.starts_with("HTTP/1.1 408") && stalled.contains("request_timeout"),
        "{stalled}"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    let bytes = raw(
        &world,
        &[
            head("Content-Length: 3\r\nConnection: close\r\n").as_bytes(),
            b"\"\xff\"",
        ],
    )
    .await;
    assert!(
        bytes.starts_with("HTTP/1.1 400") && bytes.contains("UTF-8"),
        "{bytes}"
    );
    let gzip = raw(
        &world,
        &[
            head("Content-Length: 2\r\nContent-Encoding: gzip\r\nConnection: close\r\n").as_bytes(),
            b"{}",
        ],
    )
    .await;
    assert!(gzip.starts_with("HTTP/1.1 415"), "{gzip}");
    // Heads that do not end, and connections that say nothing or next to nothing.
    let endless = raw(
        &world,
        &[b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-A: b"],
    )
    .await;
    assert!(
        endless.starts_with("HTTP/1.1 408") && endless.contains("request_timeout"),
        "{endless}"
    );
    let (_, body) = endless.split_once("\r\n\r\n").unwrap();
    assert!(
        serde_json::from_str::<Value>(body).is_ok()
            && endless.contains(&format!("Content-Length: {}", body.len())),
        "{endless}"
    );
    for quiet in [&b""[..], b"P", b"PRI", b"PRI * HTTP/2.0\r\n"] {
        assert_eq!(raw(&world, &[quiet]).await, "");
    }
    let huge = raw(
        &world,
        &[
            b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ",
            &vec![b'a'; 1 << 20],
        ],
    )
    .await;
    assert!(huge.starts_with("HTTP/1.1 431"), "{huge}");
    // No key: refused before the body is read.
    let nobody = raw(&world, &[b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n"]).await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn deep_and_odd_json_is_harmless() {
    let world = Setup::default().start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (status, _) = refused(&world, &deep).await;
    assert_eq!(status, 400);
    let parameters = format!(
        "{}{}",
        "{\"items\":".repeat(5000),
        "{}".to_owned() + &"}".repeat(5000)
    );
    let body = format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{parameters}}}}}]}}"#
    );
    let request = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(API_KEY)
        .body(body);
    let status = request.send().await.unwrap().status();
    assert!(status == 400 || status == 200, "{status}");
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn who_uploads_too_much_reads_why() {
    let setup = Setup {
        environment: vec![("MAX_BODY_BYTES", "1000".to_owned())],
        ..Setup::default()
    };
    let world = setup.start().await;
    for _ in 0..5 {
        let mut stream = TcpStream::connect(world.gateways[0].address).await.unwrap();
        let head = head("Content-Length: 20000000\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Sent whole before the answer is read, as simple clients do.
        let block = vec![b'x'; 1 << 20];
        for _ in 0..19 {
            stream
                .write_all(&block)
                .await
                .expect("the connection is not reset");
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
}
