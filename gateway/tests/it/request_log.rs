//! The request log, as operators find it in its folder.

use std::path::Path;

use fake_google::{Action, ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{API_KEY, MODEL, Setup, World, error, eventually, hello, with};

fn setup(folder: &Path, more: &[(&'static str, &str)]) -> Setup {
    let mut environment = vec![("REQUEST_LOG", folder.display().to_string())];
    let more = more
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    environment.extend(more);
    Setup {
        environment,
        ..Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
    }
}

fn text(folder: &Path) -> String {
    let mut files: Vec<_> = match std::fs::read_dir(folder) {
        Ok(files) => files.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => return String::new(),
    };
    files.sort();
    let texts = files
        .iter()
        .map(|path| match std::fs::read_to_string(path) {
            // The gateway deletes its oldest file at any time.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.unwrap(),
        });
    texts.collect()
}

/// The one line of a request.
async fn line(folder: &Path, id: &str) -> Value {
    let find = || {
        let text = text(folder);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut found: Vec<Value> = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["request_id"] == id)
            .collect();
        assert!(found.len() <= 1, "{found:?}");
        found.pop()
    };
    eventually("the line of the request", || find().is_some()).await;
    find().unwrap()
}

fn ask(world: &World, id: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = world.client.post(world.url(0, "/v1/chat/completions"));
    let request = request.bearer_auth(API_KEY).header("x-request-id", id);
    request.body(body.to_string())
}

#[tokio::test]
async fn a_line_tells_what_became_of_a_request_and_nothing_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let world = setup(&path, &[]).start().await;
    let fake = world.google.fake();
    fake.script(Fault::once(error(ErrorName::RateLimited, Some(60.0))));
    let request = ask(&world, "retried", &hello());
    let answer = request.header("x-forwarded-for", "203.0.113.7").send();
    assert_eq!(answer.await.unwrap().status(), 200);
    let told = line(&path, "retried").await;
    assert_eq!(told["key"], "tests");
    assert_eq!(told["forwarded_for"], "203.0.113.7");
    assert_eq!(told["model"], MODEL);
    assert_eq!(
        (&told["method"], &told["path"]),
        (&"POST".into(), &"/v1/chat/completions".into())
    );
    assert_eq!(
        (&told["status"], &told["outcome"]),
        (&200.into(), &"ok".into())
    );
    let [first, second] = &told["attempts"].as_array().unwrap()[..] else {
        panic!("{told}")
    };
    assert_eq!(
        (&first["outcome"], &first["http_status"]),
        (&"rate_limited".into(), &429.into())
    );
    assert_eq!(
        (&second["outcome"], &second["http_status"]),
        (&"ok".into(), &200.into())
    );
    assert_ne!(first["project"], second["project"]);
    assert!(first["ended_ms"].as_f64() <= second["began_ms"].as_f64());
    assert!(second["ended_ms"].as_f64() <= told["total_ms"].as_f64());
    assert!(told["usage"]["prompt_tokens"].as_u64() > Some(0));
    assert!(told.get("request").is_none() && told.get("answer").is_none());

    // Who hangs up has a line too, and a probe has none.
    fake.script(Fault::once(Action::Stall { after_events: 1 }));
    let streamed = with(hello(), "stream", json!(true));
    let mut response = ask(&world, "left", &streamed).send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let told = line(&path, "left").await;
    assert_eq!(
        (&told["outcome"], &told["stream"]),
        (&"cancelled".into(), &true.into())
    );
    assert_eq!(told["attempts"][0]["outcome"], "cancelled");
    world.get("/livez").await;
    let refused = ask(&world, "refused", &json!({"model": MODEL}));
    assert_eq!(refused.send().await.unwrap().status(), 400);
    line(&path, "refused").await;
    let text = text(&path);
    for secret in ["livez", "Hello", API_KEY, "ya29.", "1//"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn with_bodies_it_has_what_was_asked_and_what_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = setup(folder.path(), &[("REQUEST_LOG_BODIES", "true")])
        .start()
        .await;
    let streamed = with(hello(), "stream", json!(true));
    let wrong = json!({"model": MODEL, "messages": "Hello"});
    for (id, body, status) in [
        ("whole", hello(), 200),
        ("stream", streamed, 200),
        ("wrong", wrong, 400),
    ] {
        let response = ask(&world, id, &body).send().await.unwrap();
        assert_eq!(response.status(), status);
        let got = response.text().await.unwrap();
        let told = line(folder.path(), id).await;
        assert_eq!(told["request"]["body"], body.to_string());
        assert_eq!(told["answer"]["body"], got);
        assert_eq!(told["answer"]["bytes"], got.len());
        assert_eq!(told["answer"]["cut"], false);
    }
    // More than is kept of a body.
    let long = "long ".repeat(300_000);
    let body = with(
        hello(),
        "messages",
        json!([{"role": "user", "content": long}]),
    );
    let response = ask(&world, "long", &body).send().await.unwrap();
    response.bytes().await.unwrap();
    let told = line(folder.path(), "long").await;
    assert_eq!(told["request"]["cut"], true);
    assert_eq!(told["request"]["body"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(told["request"]["bytes"], body.to_string().len());
    // What is asked in the last moment is written before the end.
    ask(&world, "last", &hello())
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    world.end_gateways().await;
    let text = text(folder.path());
    assert!(text.contains("\"last\"") && text.ends_with('\n'));
    for secret in [API_KEY, "ya29.", "1//", "planted-gateway-token"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_stops_nobody_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // A file stands where the folder is to be.
    std::fs::write(&path, "in the way").unwrap();
    let world = setup(&path, &[]).start().await;
    for _ in 0..20 {
        world.chat(&hello()).await.content();
    }
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    ask(&world, "healed", &hello()).send().await.unwrap();
    assert_eq!(line(&path, "healed").await["outcome"], "ok");
}

#[tokio::test]
async fn the_files_stay_within_their_budget_and_a_line_is_never_longer_than_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        ("REQUEST_LOG_BODIES", "true"),
        ("REQUEST_LOG_MAX_BYTES", "64KiB"),
        ("REQUEST_LOG_BUDGET", "200KiB"),
    ];
    let world = setup(folder.path(), &more).start().await;
    let long = |bytes| {
        with(
            hello(),
            "messages",
            json!([{"role": "user", "content": "x".repeat(bytes)}]),
        )
    };
    ask(&world, "too-long", &long(100_000))
        .send()
        .await
        .unwrap();
    let told = line(folder.path(), "too-long").await;
    assert_eq!(told["bodies_left_out"], true);
    assert!(told.get("request").is_none(), "{told}");
    for nth in 0..30 {
        let id = format!("nth-{nth}");
        ask(&world, &id, &long(20_000)).send().await.unwrap();
        line(folder.path(), &id).await;
        let sizes = std::fs::read_dir(folder.path()).unwrap();
        let sizes: Vec<u64> = sizes
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert!(sizes.iter().all(|bytes| *bytes <= 64 << 10), "{sizes:?}");
        assert!(sizes.iter().sum::<u64>() <= 200 << 10, "{sizes:?}");
    }
    assert!(!text(folder.path()).contains("too-long"));
}
