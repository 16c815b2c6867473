//! The same powers over HTTP.

use fake_google::Config;
use serde_json::json;

use crate::support::{Google, say};

#[tokio::test]
async fn scripts_can_do_what_tests_do() {
    let google = Google::start(Config::default()).await;
    let post = |path: &'static str, body: serde_json::Value| {
        let google = &google;
        async move { google.post(path, "", &body).await }
    };
    let account = json!({ "refresh_token": "1//scripted", "projects": ["scripted"] });
    assert_eq!(post("/__fake/accounts", account).await.status, 200);
    let token = google.refresh("1//scripted").await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let fault = json!({
        "matcher": { "project": "scripted", "nth": 2 },
        "times": 1,
        "action": { "kind": "error", "error": "quota_exhausted", "retry_after": 90.5 },
    });
    assert_eq!(post("/__fake/faults", json!([fault])).await.status, 200);
    let body = json!({ "project": "scripted", "model": "gemini-2.5-pro", "request": say("Hi") });
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = google
            .post("/v1internal:generateContent", &token, &body)
            .await;
        statuses.push(answer.status);
        if answer.status == 429 {
            let details = &answer.json()["error"]["details"];
            assert_eq!(details[0]["metadata"]["quotaResetDelay"], "1m30.500000000s");
            assert_eq!(details[1]["retryDelay"], "90.500000000s");
        }
    }
    assert_eq!(statuses, [200, 429, 200]);
    let counters = google.get("/__fake/counters", "").await.json();
    assert_eq!(counters["by_project"]["scripted"], 3);
    assert_eq!(counters["requests"]["generate_content"], 3);
    assert_eq!(counters["statuses"]["429"], 1);
    assert_eq!(counters["in_flight"], 0);

    assert_eq!(
        post("/__fake/invalidate", json!({ "target": "scripted" }))
            .await
            .status,
        200
    );
    assert_eq!(
        google
            .post("/v1internal:generateContent", &token, &body)
            .await
            .status,
        401
    );
    assert_eq!(
        post("/__fake/invalidate", json!({ "target": "nobody" }))
            .await
            .status,
        404
    );
    assert_eq!(
        post("/__fake/advance", json!({ "seconds": 4000 }))
            .await
            .status,
        200
    );
    let typo = json!({ "match": {}, "action": { "kind": "empty_stop" } });
    let refused = post("/__fake/faults", typo).await;
    assert!(refused.status == 400 && refused.body.contains("unknown field `match`"));
    assert_eq!(
        post(
            "/__fake/faults",
            json!({ "action": { "kind": "nonsense" } })
        )
        .await
        .status,
        400
    );
    assert_eq!(post("/__fake/reset", json!({})).await.status, 200);
    assert_eq!(
        google.get("/__fake/counters", "").await.json()["oauth"]["total"],
        0
    );
    assert_eq!(google.refresh("1//scripted").await.status, 400);
    assert_eq!(post("/__fake/nothing", json!({})).await.status, 404);
}

#[tokio::test]
async fn requests_are_kept_without_their_secrets() {
    let google = Google::start(Config {
        keep_requests: 2,
        ..Config::default()
    })
    .await;
    for text in ["one", "two", "three"] {
        google
            .code_assist("generateContent", "gemini-2.5-pro", say(text))
            .await;
    }
    let kept = google.running.fake().requests();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1].body["request"], say("three"));
    assert_eq!(
        (kept[1].project.as_str(), kept[1].model.as_str()),
        ("fake-project-1", "gemini-2.5-pro")
    );
    assert_eq!(kept[1].headers["authorization"].len(), 8);
    let told = google.get("/__fake/requests", "").await;
    assert!(!told.body.contains("ya29"));
    assert_eq!(told.json()[0]["endpoint"], "generate_content");
    assert!(
        !format!("{:?} {:?}", google.running, google.running.fake().config())
            .contains("refresh-token-1")
    );
}
