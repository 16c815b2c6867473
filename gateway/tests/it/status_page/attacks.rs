//! The usual attacks on pages: scripts in names, other pages' forms, frames.

use antigravity_proto::v1::{
    self, Outcome, OutcomeReport, ReportOutcomesRequest, token_service_client::TokenServiceClient,
};
use reqwest::header::HeaderMap;
use serde_json::json;

use super::{Page, headers};
use crate::support::{Answer, Setup, hello, with};

const SCRIPT: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

async fn report(page: &Page, report: OutcomeReport) {
    let url = format!("http://{}", page.world.token_address());
    let mut client = TokenServiceClient::connect(url).await.unwrap();
    let mut request = tonic::Request::new(ReportOutcomesRequest {
        reports: vec![report],
        gateway_id: "planted".to_owned(),
    });
    let bearer = "Bearer planted-gateway-token".parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    client.report_outcomes(request).await.unwrap();
}

/// Has it reported of a project what a gateway would.
pub(super) async fn report_outcome(page: &Page, project: &str, outcome: Outcome, reason: &str) {
    let outcome = OutcomeReport {
        outcome: outcome.into(),
        ..validation(project, reason, "", "gemini-2.5-flash")
    };
    report(page, outcome).await;
}

fn validation(project: &str, reason: &str, url: &str, model: &str) -> OutcomeReport {
    OutcomeReport {
        outcome_id: format!("outcome of {project}"),
        project_id: project.to_owned(),
        outcome: Outcome::ValidationRequired.into(),
        model: model.to_owned(),
        reason: reason.to_owned(),
        url: url.to_owned(),
        http_status: 403,
        ..Default::default()
    }
}

/// Whether there is nothing in it but what we wrote: our one script, and no handler.
fn is_harmless(page: &str) {
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(page.contains("<script src=\"status.js\" defer></script>"));
    assert!(!page.contains("<img src=x"), "{page}");
    // A `<` begins a tag of ours or none, and quotes are ours.
    for (at, _) in page.match_indices("onerror") {
        let before = &page[..at];
        assert!(
            before.rfind('<') < before.rfind('>'),
            "within a tag: {page}"
        );
    }
    assert!(!page.contains("javascript:alert(1)\""), "{page}");
    assert!(
        !page.contains("style=\"") && !page.contains("onclick=\""),
        "{page}"
    );
}

#[tokio::test]
async fn what_comes_from_outside_is_text() {
    let page = Page::start(Setup::default()).await;
    let world = &page.world;
    world
        .update(
            v1::UpdateProjectRequest {
                project: Some(v1::Project {
                    id: "p1".to_owned(),
                    display_name: format!("name {SCRIPT}"),
                    ..Default::default()
                }),
                ..Default::default()
            },
            &["display_name"],
        )
        .await;
    let script = "javascript:alert(1)";
    report(
        &page,
        validation(
            "p1",
            &format!("reason {SCRIPT}"),
            script,
            &format!("model {SCRIPT}"),
        ),
    )
    .await;
    let data = "data:text/html,<script>alert(1)</script>";
    report(&page, validation("p2", "plain", data, "gemini-2.5-flash")).await;
    let attribute = "https://accounts.google.com/\"onclick=\"alert(1)//<script>";
    report(
        &page,
        validation("p3", "plain", attribute, "gemini-2.5-flash"),
    )
    .await;
    // Of the live side: a model, and an id of a request.
    let asked = world
        .client
        .post(world.url(0, "/v1/chat/completions"))
        .bearer_auth(crate::support::API_KEY)
        .header("x-request-id", "<svg/onload=alert(1)>")
        .body(with(hello(), "model", json!(format!("asked {SCRIPT}"))).to_string());
    let refused = Answer::of(asked.send().await.unwrap()).await;
    assert!(refused.status >= 400, "{}", refused.body);

    let visitor = page.sign_in().await;
    let told = visitor.look_until("&#60;svg/onload=alert(1)&#62;").await;
    is_harmless(&told);
    // A model of such a name is refused before it is told to anybody.
    assert!(!told.contains("asked "), "{told}");
    for shown in ["name ", "reason ", "model "] {
        let escaped = format!("{shown}&#34;&#39;&#62;&#60;script&#62;");
        assert!(told.contains(&escaped), "{shown}: {told}");
    }
    // Of three links one is a link.
    assert_eq!(told.matches("<a class=\"go\"").count(), 1, "{told}");
    assert!(told.contains("href=\"https://accounts.google.com/%22onclick=%22alert(1)//%3Cscript%3E\" target=\"_blank\" rel=\"noopener noreferrer nofollow\""), "{told}");
    assert!(told.contains("<code>javascript:alert(1)</code>"), "{told}");

    // And what whoever follows a link brings along himself.
    let query = "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&show=%3Cscript%3E&page=%3Cscript%3E";
    let told = visitor.look(query).await;
    is_harmless(&told);
    assert!(told.contains("value=\"&#34;&#62;&#60;script&#62;alert(1)&#60;/script&#62;\""));
    // What the button leads back to is written anew.
    let fields = [
        ("csrf", &*visitor.csrf),
        ("action", "refresh"),
        ("id", "<script>alert(1)</script>"),
        (
            "back",
            "https://attacker.example/\r\nset-cookie: a=b&q=%0d%0a<x>",
        ),
    ];
    let answer = page.post("/project", &fields, visitor.headers()).await;
    assert_eq!(answer.header("location"), Some("./?q=%3Cx%3E"));
    assert_eq!(answer.header("set-cookie"), None);
    let told = visitor.look("/").await;
    is_harmless(&told);
    assert!(told.contains("Cannot refresh &#60;script&#62;"), "{told}");
}

#[tokio::test]
async fn other_pages_change_nothing() {
    let page = Page::start(Setup::default()).await;
    let visitor = page.sign_in().await;
    let other = page.sign_in().await;
    let world = &page.world;
    let with_cookie = |more: &[(&'static str, &str)]| {
        let mut all = visitor.headers();
        all.extend(headers(more));
        all
    };
    let ours = page.url("");
    let good: &str = &visitor.csrf;
    for (csrf, more) in [
        // No mark of the session, or that of another.
        (None, &[][..]),
        (Some(""), &[]),
        (Some("made-up"), &[]),
        (Some(&*other.csrf), &[]),
        (Some(&good[1..]), &[]),
        (
            Some("made-up"),
            &[("origin", &*ours), ("sec-fetch-site", "same-origin")],
        ),
        // The right one, and another page.
        (Some(good), &[("origin", "http://attacker.example")]),
        (Some(good), &[("origin", "null")]),
        (Some(good), &[("origin", "http://127.0.0.1:1")]),
        (Some(good), &[("sec-fetch-site", "cross-site")]),
        (
            Some(good),
            &[("sec-fetch-site", "same-site"), ("origin", &*ours)],
        ),
    ] {
        let mut fields = vec![("action", "disable"), ("id", "p1")];
        fields.extend(csrf.map(|csrf| ("csrf", csrf)));
        let answer = page.post("/project", &fields, with_cookie(more)).await;
        assert_eq!(answer.status, 403, "{csrf:?} {more:?}");
        assert!(answer.body.contains("nothing was done"), "{}", answer.body);
        let answer = page.post("/logout", &fields, with_cookie(more)).await;
        assert_eq!(answer.status, 403, "{csrf:?} {more:?}");
    }
    // Nor by an address.
    let by_address = format!("/project?csrf={good}&action=disable&id=p1");
    assert_eq!(page.get(&by_address, visitor.headers()).await.status, 405);
    // Nor is anybody signed in by another page.
    let answer = page
        .post(
            "/login",
            &[("token", super::ADMIN_TOKEN)],
            headers(&[("origin", "http://attacker.example")]),
        )
        .await;
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    assert!(!world.project("p1").await.disabled);
    visitor.look("/").await;

    let fields = [("action", "disable"), ("id", "p1"), ("csrf", good)];
    let more = [("origin", &*ours), ("sec-fetch-site", "same-origin")];
    assert_eq!(
        page.post("/project", &fields, with_cookie(&more))
            .await
            .status,
        303
    );
    assert!(world.project("p1").await.disabled);
}

#[tokio::test]
async fn browsers_are_told_to_hold_back() {
    let page = Page::start(Setup::default()).await;
    let visitor = page.sign_in().await;
    let all = [
        page.get("/", HeaderMap::new()).await,
        page.get("/", visitor.headers()).await,
        page.get("/login", visitor.headers()).await,
        page.get("/status.js", HeaderMap::new()).await,
        page.get("/status.css", HeaderMap::new()).await,
        page.get("/icon.svg", HeaderMap::new()).await,
        page.try_token("wrong").await,
        page.post("/project", &[], visitor.headers()).await,
        visitor.press("refresh", "p1").await,
    ];
    // Without it browsers that say nothing else would call the origin of our own forms null.
    for answer in &all[..2] {
        let policy = "<meta name=\"referrer\" content=\"same-origin\">";
        assert!(answer.body.contains(policy), "{}", answer.body);
    }
    for answer in all {
        let policy = answer.header("content-security-policy").unwrap();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            let mut directives = policy.split("; ");
            assert!(directives.any(|other| other == directive), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        // Nothing of ours is written into the page where the policy would have to let it in.
        assert!(!answer.body.contains("<style") && !answer.body.contains("<script>"));
        assert!(!answer.body.contains("src=\"http") && !answer.body.contains("url(http"));
    }
}

#[tokio::test]
async fn a_name_that_leads_here_is_not_ours() {
    let page = Page::start(Setup::default()).await;
    let visitor = page.sign_in().await;
    let asked_by = |host: &str| {
        let mut all = visitor.headers();
        all.extend(headers(&[("host", host)]));
        all
    };
    for host in [
        "attacker.example",
        "127.0.0.1.attacker.example:9090",
        "localhost.attacker.example",
    ] {
        for path in ["/metrics", "/readyz", "/nothing"] {
            let answer = page.get(path, asked_by(host)).await;
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(!answer.body.contains("antigravity_gateway_"));
        }
        let answer = page.get("/", asked_by(host)).await;
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert!(
            !answer.body.contains("p1") && !answer.body.contains("attacker"),
            "{}",
            answer.body
        );
        let mut headers = asked_by(host);
        headers.extend(super::headers(&[("origin", &format!("http://{host}"))]));
        let fields = [("token", super::ADMIN_TOKEN)];
        assert_eq!(page.post("/login", &fields, headers).await.status, 421);
    }
    for host in [
        "localhost:9090",
        "[::1]:9090",
        "10.1.2.3",
        "status.localhost",
    ] {
        let metrics = page.get("/metrics", asked_by(host)).await;
        assert_eq!(metrics.status, 200, "{host}");
        let answer = page.get("/", asked_by(host)).await;
        assert_eq!(answer.status, 200, "{host}");
        assert!(
            !answer.body.contains(host),
            "it is told nowhere: {}",
            answer.body
        );
    }
}
