//! Every error by its name, and the errors that come by themselves.

use fake_google::{API_KEY, Action, Config, ErrorForm, ErrorName, Fault};
use serde_json::{Value, json};

use crate::support::{Google, read, say};

#[tokio::test]
async fn named_errors_have_googles_status_and_reason() {
    use ErrorName as E;
    let google = Google::start(Config::default()).await;
    let cases: [(ErrorName, u16, &str, &str); 30] = [
        (
            E::Unauthenticated,
            401,
            "UNAUTHENTICATED",
            "ACCESS_TOKEN_EXPIRED",
        ),
        (
            E::CredentialsMissing,
            401,
            "UNAUTHENTICATED",
            "CREDENTIALS_MISSING",
        ),
        (
            E::ValidationRequired,
            403,
            "PERMISSION_DENIED",
            "VALIDATION_REQUIRED",
        ),
        (
            E::ServiceDisabled,
            403,
            "PERMISSION_DENIED",
            "SERVICE_DISABLED",
        ),
        (
            E::ConsumerInvalid,
            403,
            "PERMISSION_DENIED",
            "CONSUMER_INVALID",
        ),
        (
            E::SubscriptionRequired,
            403,
            "PERMISSION_DENIED",
            "SUBSCRIPTION_REQUIRED",
        ),
        (E::TermsOfService, 403, "PERMISSION_DENIED", ""),
        (
            E::IamPermissionDenied,
            403,
            "PERMISSION_DENIED",
            "IAM_PERMISSION_DENIED",
        ),
        (
            E::SecurityPolicyViolated,
            403,
            "PERMISSION_DENIED",
            "SECURITY_POLICY_VIOLATED",
        ),
        (
            E::UnsupportedClient,
            403,
            "PERMISSION_DENIED",
            "UNSUPPORTED_CLIENT",
        ),
        (E::PermissionDenied, 403, "PERMISSION_DENIED", ""),
        (E::NotFound, 404, "NOT_FOUND", ""),
        (E::InvalidArgument, 400, "INVALID_ARGUMENT", ""),
        (E::UserLocation, 400, "FAILED_PRECONDITION", ""),
        (E::ContextLength, 400, "INVALID_ARGUMENT", ""),
        (E::CorruptedSignature, 400, "INVALID_ARGUMENT", ""),
        (E::OldClient, 400, "INVALID_ARGUMENT", ""),
        (
            E::RateLimited,
            429,
            "RESOURCE_EXHAUSTED",
            "RATE_LIMIT_EXCEEDED",
        ),
        (
            E::QuotaExhausted,
            429,
            "RESOURCE_EXHAUSTED",
            "QUOTA_EXHAUSTED",
        ),
        (E::IndividualQuota, 429, "RESOURCE_EXHAUSTED", ""),
        (E::ResourceExhausted, 429, "RESOURCE_EXHAUSTED", ""),
        (
            E::InsufficientCredits,
            429,
            "RESOURCE_EXHAUSTED",
            "INSUFFICIENT_G1_CREDITS_BALANCE",
        ),
        (E::VertexExhausted, 429, "RESOURCE_EXHAUSTED", ""),
        (
            E::ProjectRateLimited,
            429,
            "RESOURCE_EXHAUSTED",
            "RATE_LIMIT_EXCEEDED",
        ),
        (
            E::CapacityExhausted,
            503,
            "UNAVAILABLE",
            "MODEL_CAPACITY_EXHAUSTED",
        ),
        (E::Overloaded, 503, "UNAVAILABLE", ""),
        (E::Internal, 500, "INTERNAL", ""),
        (E::Unknown, 500, "UNKNOWN", ""),
        (E::DeadlineExceeded, 504, "DEADLINE_EXCEEDED", ""),
        (E::Cancelled, 499, "CANCELLED", ""),
    ];
    for (error, code, status, reason) in cases {
        google.running.fake().script(Fault::once(scripted(error)));
        let answer = google
            .code_assist("generateContent", "gemini-2.5-pro", say("Hi"))
            .await;
        let body = &answer.json()["error"];
        assert_eq!(
            (answer.status, &body["code"], &body["status"]),
            (code, &code.into(), &status.into()),
            "{error:?}"
        );
        assert_eq!(
            body["details"][0]["reason"].as_str().unwrap_or_default(),
            reason,
            "{error:?}"
        );
    }
}

fn scripted(error: ErrorName) -> Action {
    Action::Error {
        error,
        form: ErrorForm::Object,
        retry_after: None,
    }
}

#[tokio::test]
async fn limits_say_when_to_come_back() {
    let google = Google::start(Config::default()).await;
    let ask = |error| {
        google.running.fake().script(Fault::once(scripted(error)));
        google.code_assist("streamGenerateContent?alt=sse", "gemini-2.5-pro", say("Hi"))
    };
    let burst = ask(ErrorName::RateLimited).await.json();
    assert_eq!(
        burst["error"]["message"],
        "You have exhausted your capacity on this model. Your quota will reset after 0s."
    );
    assert_eq!(
        burst["error"]["details"][0]["metadata"]["quotaResetDelay"],
        "479.417207ms"
    );
    assert_eq!(burst["error"]["details"][1]["retryDelay"], "0.479417207s");
    let window = ask(ErrorName::QuotaExhausted).await.json();
    assert_eq!(
        window["error"]["message"],
        "You have exhausted your capacity on this model. Your quota will reset after 161h39m41s."
    );
    assert_eq!(
        window["error"]["details"][0]["metadata"]["quotaResetDelay"],
        "161h39m41.300432511s"
    );
    assert!(
        window["error"]["details"][0]["metadata"]["quotaResetTimeStamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    let individual = ask(ErrorName::IndividualQuota).await.message();
    assert!(individual.ends_with("Resets in 9h22m20s."));
    let gemini = ask(ErrorName::GeminiQuota).await.json();
    let kinds: Vec<&str> = gemini["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| detail["@type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "type.googleapis.com/google.rpc.QuotaFailure",
            "type.googleapis.com/google.rpc.Help",
            "type.googleapis.com/google.rpc.RetryInfo"
        ]
    );
    assert!(
        gemini["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("Please retry in 56.185908122s.")
    );
    let shared = ask(ErrorName::VertexExhausted).await.json();
    assert_eq!(shared["error"]["errors"][0]["reason"], "rateLimitExceeded");
    assert!(
        ask(ErrorName::CapacityExhausted)
            .await
            .body
            .contains("\"retryDelay\": \"40s\"")
    );
    assert!(
        !ask(ErrorName::CapacityExhaustedBare)
            .await
            .body
            .contains("retryDelay")
    );
}

#[tokio::test]
async fn some_errors_are_no_json() {
    let google = Google::start(Config::default()).await;
    for (error, status, start) in [
        (ErrorName::HtmlNotFound, 404, "<!DOCTYPE html>"),
        (ErrorName::HtmlBadGateway, 502, "<!DOCTYPE html>"),
        (ErrorName::HtmlTooManyRequests, 429, "<html>"),
        (ErrorName::Empty, 503, ""),
    ] {
        google.running.fake().script(Fault::once(scripted(error)));
        let answer = google
            .code_assist("generateContent", "gemini-2.5-pro", say("Hi"))
            .await;
        assert_eq!(answer.status, status);
        assert!(answer.body.starts_with(start) && answer.body.is_empty() == start.is_empty());
    }
}

#[tokio::test]
async fn projects_and_credentials_are_checked() {
    let google = Google::start(Config::default()).await;
    let token = google.token(1).await;
    let reason =
        |answer: &crate::support::Answer| answer.json()["error"]["details"][0]["reason"].clone();
    let assist = |project: Value| json!({ "project": project, "model": "gemini-2.5-pro", "request": say("Hi") });

    let foreign = google
        .post(
            "/v1internal:generateContent",
            &token,
            &assist("fake-project-2".into()),
        )
        .await;
    assert_eq!(
        (foreign.status, reason(&foreign)),
        (403, "CONSUMER_INVALID".into())
    );
    assert_eq!(
        foreign.message(),
        "Permission denied on resource project fake-project-2."
    );
    let none = google
        .post("/v1internal:generateContent", &token, &assist(Value::Null))
        .await;
    assert_eq!(none.status, 400);
    let billed = google
        .http
        .post(google.url("/v1internal:generateContent"))
        .bearer_auth(&token)
        .header("x-goog-user-project", "fake-project-1")
        .body(assist("fake-project-1".into()).to_string());
    let billed = read(billed).await.unwrap();
    assert_eq!(
        (billed.status, reason(&billed)),
        (403, "SERVICE_DISABLED".into())
    );
    let stranger = google
        .post(
            "/v1internal:generateContent",
            "ya29.nobody",
            &assist("fake-project-1".into()),
        )
        .await;
    assert_eq!(
        (stranger.status, reason(&stranger)),
        (401, "ACCESS_TOKEN_EXPIRED".into())
    );
    let nobody = google
        .http
        .post(google.url("/v1internal:generateContent"))
        .body(assist("p".into()).to_string());
    assert_eq!(reason(&read(nobody).await.unwrap()), "CREDENTIALS_MISSING");

    let path = "/v1/projects/fake-project-2/locations/global/publishers/google/models/gemini-2.5-pro:generateContent";
    let vertex = google.post(path, &token, &say("Hi")).await;
    assert_eq!(
        (vertex.status, reason(&vertex)),
        (403, "IAM_PERMISSION_DENIED".into())
    );

    let gemini = |project: Option<&str>, key: Option<&str>, token: Option<&str>| {
        let mut request = google
            .http
            .post(google.url("/v1beta/models/gemini-2.5-pro:generateContent"));
        request = project.into_iter().fold(request, |request, project| {
            request.header("x-goog-user-project", project)
        });
        request = key.into_iter().fold(request, |request, key| {
            request.header("x-goog-api-key", key)
        });
        request = token
            .into_iter()
            .fold(request, reqwest::RequestBuilder::bearer_auth);
        read(request.body(say("Hi").to_string()))
    };
    assert_eq!(
        gemini(Some("fake-project-1"), None, Some(&token))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(gemini(None, Some(API_KEY), None).await.unwrap().status, 200);
    assert_eq!(
        gemini(Some("fake-project-2"), None, Some(&token))
            .await
            .unwrap()
            .status,
        403
    );
    assert_eq!(gemini(None, None, Some(&token)).await.unwrap().status, 403);
    assert_eq!(
        gemini(None, Some(API_KEY), Some(&token))
            .await
            .unwrap()
            .status,
        400
    );
    let bad_key = gemini(None, Some("AIzaWrong"), None).await.unwrap();
    assert_eq!(
        (bad_key.status, reason(&bad_key)),
        (400, "API_KEY_INVALID".into())
    );
}

#[tokio::test]
async fn unknown_models_are_not_found_in_each_upstreams_words() {
    let google = Google::start(Config::default()).await;
    let assist = google
        .code_assist("generateContent", "gemini-9", say("Hi"))
        .await;
    assert_eq!(
        (assist.status, assist.message().as_str()),
        (404, "Requested entity was not found.")
    );
    let gemini = google.gemini("gemini-9:generateContent", &say("Hi")).await;
    assert_eq!(
        gemini.message(),
        "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. Call ListModels \
         to see the list of available models and their supported methods."
    );
    let lenient = Google::start(Config {
        accept_any_model: true,
        ..Config::default()
    })
    .await;
    assert_eq!(
        lenient
            .gemini("gemini-9:generateContent", &say("Hi"))
            .await
            .status,
        200
    );
}
