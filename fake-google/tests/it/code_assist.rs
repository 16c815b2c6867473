//! Projects, models and quota.

use std::time::Duration;

use fake_google::{Account, Config, Discovery, Group, Quota};
use serde_json::{Value, json};

use crate::support::{Google, say};

async fn load(google: &Google, n: usize) -> Value {
    let body = json!({ "metadata": { "ideType": "ANTIGRAVITY" } });
    google
        .post("/v1internal:loadCodeAssist", &google.token(n).await, &body)
        .await
        .json()
}

#[tokio::test]
async fn projects_are_found_in_every_form() {
    let with = |n, discovery| Account {
        discovery,
        ..Account::numbered(n)
    };
    let google = Google::start(Config {
        accounts: vec![
            with(1, Discovery::StringProject),
            with(2, Discovery::ObjectProject),
            with(3, Discovery::ValidationRequired),
            with(4, Discovery::UnsupportedLocation),
        ],
        ..Config::default()
    })
    .await;
    assert_eq!(
        load(&google, 1).await["cloudaicompanionProject"],
        "fake-project-1"
    );
    assert_eq!(
        load(&google, 2).await["cloudaicompanionProject"]["id"],
        "fake-project-2"
    );
    let ineligible = load(&google, 3).await;
    assert!(ineligible.get("currentTier").is_none());
    assert_eq!(
        ineligible["ineligibleTiers"][0]["reasonCode"],
        "VALIDATION_REQUIRED"
    );
    assert!(ineligible["ineligibleTiers"][0]["validationUrl"].is_string());
    assert_eq!(
        load(&google, 4).await["ineligibleTiers"][0]["reasonCode"],
        "UNSUPPORTED_LOCATION"
    );

    let unknown = json!({ "metadata": { "platform": "LINUX" } });
    let refused = google
        .post(
            "/v1internal:loadCodeAssist",
            &google.token(1).await,
            &unknown,
        )
        .await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("\"LINUX\""));
}

#[tokio::test]
async fn onboarding_is_an_operation_that_ends() {
    let account = Account {
        discovery: Discovery::NotOnboarded,
        ..Account::numbered(1)
    };
    let google = Google::start(Config {
        accounts: vec![account],
        onboarding_polls: 2,
        ..Config::default()
    })
    .await;
    let before = load(&google, 1).await;
    assert!(before.get("cloudaicompanionProject").is_none());
    assert_eq!(before["allowedTiers"][0]["isDefault"], true);
    let token = google.token(1).await;
    let own_project = json!({ "tierId": "free-tier", "cloudaicompanionProject": "mine" });
    let refused = google
        .post("/v1internal:onboardUser", &token, &own_project)
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["status"]),
        (400, &"FAILED_PRECONDITION".into())
    );

    let body = json!({ "tier_id": "free-tier", "metadata": { "ide_type": "ANTIGRAVITY" } });
    let started = google
        .post("/v1internal:onboardUser", &token, &body)
        .await
        .json();
    assert_eq!(started["done"], false);
    let again = google
        .post("/v1internal:onboardUser", &token, &body)
        .await
        .json();
    assert_eq!(
        (&again["name"], &again["done"]),
        (&started["name"], &false.into())
    );
    let operation = format!("/v1internal/{}", started["name"].as_str().unwrap());
    let done = google.get(&operation, &token).await.json();
    assert_eq!(
        done["response"]["cloudaicompanionProject"]["id"],
        "fake-project-1"
    );
    assert_eq!(
        load(&google, 1).await["cloudaicompanionProject"],
        "fake-project-1"
    );
    assert_eq!(
        google
            .get("/v1internal/operations/none", &token)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn each_upstream_lists_its_own_models() {
    let google = Google::start(Config::default()).await;
    let token = google.token(1).await;
    let available = google
        .post(
            "/v1internal:fetchAvailableModels",
            &token,
            &json!({ "project": "fake-project-1" }),
        )
        .await;
    let available = available.json();
    let models = &available["models"];
    assert!(models["claude-sonnet-4-6"].is_object() && models["chat_20706"].is_object());
    assert!(models["gemini-embedding-001"].is_null() && models["gemini-3-pro-preview"].is_null());
    // Used up is left out, as proto3 leaves out zeros.
    let used_up = &models["claude-opus-4-6-thinking"]["quotaInfo"];
    assert!(used_up["resetTime"].is_string() && used_up.get("remainingFraction").is_none());
    assert!(
        available["tabModelIds"]
            .as_array()
            .unwrap()
            .contains(&"chat_20706".into())
    );
    let foreign = google
        .post(
            "/v1internal:fetchAvailableModels",
            &token,
            &json!({ "project": "fake-project-2" }),
        )
        .await;
    assert_eq!(
        (
            foreign.status,
            &foreign.json()["error"]["details"][0]["reason"]
        ),
        (403, &"CONSUMER_INVALID".into())
    );

    let mut listed = Vec::new();
    let mut page = String::new();
    loop {
        let answer = google
            .get(&format!("/v1beta/models?pageSize=5{page}"), &token)
            .await
            .json();
        listed.extend(answer["models"].as_array().unwrap().clone());
        match answer["nextPageToken"].as_str() {
            Some(next) => page = format!("&pageToken={next}"),
            None => break,
        }
    }
    let names: Vec<&str> = listed
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    assert!(names.len() > 10 && names.contains(&"models/gemini-3-pro-preview"));
    assert!(!names.iter().any(|name| name.contains("claude")));
    let one = google
        .get("/v1beta/models/gemini-embedding-001", &token)
        .await
        .json();
    assert!(
        one["supportedGenerationMethods"]
            .as_array()
            .unwrap()
            .contains(&"embedContent".into())
    );
    let publisher = google
        .get("/v1beta1/publishers/google/models", &token)
        .await
        .json();
    assert_eq!(
        publisher["publisherModels"][0]["name"],
        "publishers/google/models/gemini-2.5-pro"
    );
}

#[tokio::test]
async fn quota_runs_out_per_account_and_group_and_comes_back() {
    let quota = Quota {
        requests: 2,
        window: Duration::from_secs(3600),
    };
    let google = Google::start(Config {
        quota: Some(quota),
        ..Config::default()
    })
    .await;
    let ask = |model: &'static str| google.code_assist("generateContent", model, say("Hi"));
    assert_eq!(ask("gemini-2.5-pro").await.status, 200);
    assert_eq!(ask("gemini-2.5-flash").await.status, 200);
    let refused = ask("gemini-2.5-pro").await;
    assert_eq!(refused.status, 429);
    let info = &refused.json()["error"]["details"][0];
    assert_eq!(info["reason"], "QUOTA_EXHAUSTED");
    assert!(
        info["metadata"]["quotaResetDelay"]
            .as_str()
            .unwrap()
            .starts_with("59m5")
    );
    assert_eq!(ask("claude-sonnet-4-6").await.status, 200);

    let token = google.token(1).await;
    let summary = google
        .post("/v1internal:retrieveUserQuotaSummary", &token, &json!({}))
        .await
        .json();
    assert!(
        summary["groups"][0]["buckets"][0]
            .get("remainingFraction")
            .is_none()
    );
    assert_eq!(summary["groups"][1]["buckets"][0]["remainingFraction"], 0.5);
    let other = google.token(2).await;
    let body =
        json!({ "project": "fake-project-2", "model": "gemini-2.5-pro", "request": say("Hi") });
    assert_eq!(
        google
            .post("/v1internal:generateContent", &other, &body)
            .await
            .status,
        200
    );

    google.running.fake().advance(Duration::from_secs(3600));
    assert_eq!(ask("gemini-2.5-pro").await.status, 200);
    google
        .running
        .fake()
        .exhaust_quota("fake-project-1", Group::Gemini, Duration::from_secs(5));
    assert_eq!(ask("gemini-2.5-pro").await.status, 429);
    let buckets = google
        .post(
            "/v1internal:retrieveUserQuota",
            &google.token(1).await,
            &json!({}),
        )
        .await
        .json();
    assert!(
        buckets["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|bucket| bucket["modelId"] == "gemini-2.5-pro")
    );
}

#[tokio::test]
async fn a_tier_that_wants_a_project_of_ones_own_is_onboarded_with_it() {
    let google = Google::start(Config {
        accounts: vec![Account {
            discovery: Discovery::OwnProject,
            ..Account::numbered(1)
        }],
        onboarding_polls: 0,
        ..Config::default()
    })
    .await;
    let token = google.token(1).await;
    let loaded = google
        .post("/v1internal:loadCodeAssist", &token, &json!({}))
        .await
        .json();
    let tier = &loaded["allowedTiers"][0];
    assert_eq!(tier["userDefinedCloudaicompanionProject"], true);
    for (project, status) in [
        (None, 400),
        (Some("foreign"), 400),
        (Some("fake-project-1"), 200),
    ] {
        let body = json!({"tierId": "standard-tier", "cloudaicompanionProject": project});
        let answer = google.post("/v1internal:onboardUser", &token, &body).await;
        assert_eq!(answer.status, status, "{project:?}");
    }
}
