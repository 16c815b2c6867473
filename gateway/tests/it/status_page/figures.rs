//! What the page tells, and what its buttons do.

use antigravity_proto::v1::{Outcome, project::State};
use fake_google::{Action, ErrorName, Fault};
use serde_json::json;

use super::{Page, within};
use crate::support::{MODEL, Setup, error, hello, with};

fn streaming() -> serde_json::Value {
    with(hello(), "stream", json!(true))
}

#[tokio::test]
async fn numbers_are_those_of_the_load() {
    let page = Page::start(Setup::projects(&[("p1", "gemini"), ("p2", "gemini")])).await;
    let world = &page.world;
    let chunk = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "one"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 30, "totalTokenCount": 1030},
    });
    let answer = Action::Answer {
        chunks: vec![chunk],
    };
    world.google.fake().script(Fault::once(answer).times(7));
    for nth in 0..7 {
        let body = if nth < 4 { streaming() } else { hello() };
        assert_eq!(world.chat(&body).await.status, 200);
    }
    // Two are refused for what they ask, one comes to nothing after all attempts.
    for _ in 0..2 {
        assert_eq!(world.chat(&json!({"model": MODEL})).await.status, 400);
    }
    let internal = error(ErrorName::Internal, None);
    world.google.fake().script(Fault::once(internal).times(6));
    let failed = world.chat(&hello()).await;
    assert!(failed.status >= 500, "{}", failed.status);
    // Strangers, and who asks for models, are no chat.
    assert_eq!(world.get("/v1/models").await.status, 200);
    let stranger = world.client.post(world.url(0, "/v1/chat/completions"));
    assert_eq!(stranger.body("{}").send().await.unwrap().status(), 401);

    let visitor = page.sign_in().await;
    let told = visitor.look_until("13 in 24 h").await;
    assert_eq!(
        within(&told, "sum-requests"),
        "10 since its start · 1 failed · 2 refused"
    );
    assert_eq!(within(&told, "sum-tokens"), "7,000 prompt · 210 completion");
    assert!(within(&told, "sum-first-token").ends_with("· 4 streams"));
    assert!(within(&told, "sum-duration").ends_with("· 7 answers"));
    assert_eq!(
        within(&told, "sum-ledger-requests"),
        "13 in 24 h · 6 failed"
    );
    assert_eq!(
        within(&told, "sum-ledger-tokens"),
        "7,000 prompt · 210 completion"
    );
    let models = told.split_once("id=\"models\"").unwrap().1;
    let row =
        format!("<th scope=\"row\">{MODEL}</th><td>13</td><td>6</td><td>7,000</td><td>210</td>");
    assert!(models.contains(&row), "{models}");
    assert!(told.contains(&format!("Version {}", env!("CARGO_PKG_VERSION"))));
    assert!(told.contains("1 request had no valid key"), "{told}");

    // The failures, each with its id and none of the words.
    let errors = told.split_once("id=\"errors\"").unwrap().1;
    assert_eq!(errors.matches("missing_required_parameter").count(), 2);
    assert_eq!(errors.matches("upstream_error").count(), 1);
    let id = failed.header("x-request-id").unwrap();
    assert!(errors.contains(&format!("<code>{id}</code>")), "{errors}");
    assert!(!told.contains("Hello"), "nothing of what was asked");
}

#[tokio::test]
async fn each_button_does_what_it_says() {
    let page = Page::start(Setup::default()).await;
    let world = &page.world;
    let visitor = page.sign_in().await;
    let answer = visitor.press("disable", "p1").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("./#project-p1")),
        "back to its row"
    );
    // Who asks for the head alone does not read it.
    let head = page.client.head(page.url("/")).headers(visitor.headers());
    assert_eq!(head.send().await.unwrap().status(), 200);
    let told = visitor.look("/").await;
    assert_eq!(
        within(&told, "notice"),
        "p1 is disabled: it is not dealt any more, and what gateways hold of it is used up within \
         half a minute."
    );
    visitor.press("refresh", "p1").await;
    let told = visitor.look("/").await;
    assert_eq!(
        within(&told, "notice"),
        "p1 is refreshed, but is disabled, and not dealt."
    );
    assert!(told.contains("id=\"enable-p1\"") && !told.contains("id=\"disable-p1\""));
    assert!(world.project("p1").await.disabled);
    // It is told once, and not to the page's script.
    assert!(!visitor.look("/").await.contains("id=\"notice\""));
    visitor.press("enable", "p1").await;
    let mut refreshing = visitor.headers();
    refreshing.extend(super::headers(&[("x-refresh", "1")]));
    let told = page.get("/", refreshing).await.body;
    assert!(!told.contains("id=\"notice\"") && told.contains("id=\"disable-p1\""));
    let told = visitor.look("/").await;
    assert_eq!(
        within(&told, "notice"),
        "p1 is enabled, and dealt again within half a minute."
    );
    assert!(!world.project("p1").await.disabled);

    let reason = "This service has been disabled in this account";
    super::attacks::report_outcome(&page, "p3", Outcome::Suspended, reason).await;
    for action in ["disable", "enable"] {
        visitor.press(action, "p3").await;
    }
    assert_eq!(world.project("p3").await.state(), State::Suspended);
    let told = visitor.look("/").await;
    let notice = within(&told, "notice");
    assert!(
        notice.starts_with("p3 is enabled, but is suspended"),
        "{notice}"
    );
    let before = world.refreshes("p2");
    visitor.press("refresh", "p2").await;
    assert_eq!(world.refreshes("p2"), before + 1);
    let told = visitor.look("/").await;
    assert_eq!(
        within(&told, "notice"),
        "p2 is refreshed, and is tried again."
    );

    for (action, id) in [("delete", "p1"), ("", "p1"), ("disable", "")] {
        let answer = visitor.press(action, id).await;
        assert_eq!(answer.status, 400, "{action} {id}");
    }
    let answer = visitor.press("disable", "nobody").await;
    assert_eq!(answer.status, 303);
    let told = visitor.look("/").await;
    assert!(
        within(&told, "notice").contains("Cannot disable nobody"),
        "{told}"
    );
}

#[tokio::test]
async fn a_project_that_needs_a_click_comes_first_with_its_link() {
    let page = Page::start(Setup::default()).await;
    let world = &page.world;
    let needed = error(ErrorName::ValidationRequired, None);
    world.google.fake().script(Fault::once(needed));
    assert_eq!(world.chat(&hello()).await.status, 200, "another serves");
    let visitor = page.sign_in().await;
    let told = visitor.look_until("1 project needs you").await;
    let asked: Vec<_> = ["p1", "p2", "p3"].into_iter().collect();
    let mut needs = None;
    for id in asked {
        if world.project(id).await.state() == State::NeedsValidation {
            needs = Some(id);
        }
    }
    let needs = needs.unwrap();
    let (_, first) = told.split_once("<tr role=\"row\" id=\"project-").unwrap();
    assert!(first.starts_with(needs), "{told}");
    let (first, _) = first.split_once("</tr>").unwrap();
    let link = world.project(needs).await.action_url;
    // What is to be done is said once.
    assert!(!first.contains("then refresh the project"), "{first}");
    assert!(first.contains("needs a click") && first.contains("press Refresh"));
    let href = format!("href=\"{}\"", link.replace('&', "&#38;"));
    assert!(first.contains(&href), "{link}: {first}");
    visitor.press("refresh", needs).await;
    assert_eq!(world.project(needs).await.state(), State::Active);
    assert!(visitor.look("/").await.contains("All is well"));
}

#[tokio::test]
async fn each_row_says_what_is_to_be_done_once_and_whole() {
    let page = Page::start(Setup::default()).await;
    let world = &page.world;
    let visitor = page.sign_in().await;
    // So that the first tokens are not what the faults meet.
    for _ in 0..3 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for (project, name) in [
        ("p1", ErrorName::InvalidClient),
        ("p2", ErrorName::InvalidGrant),
    ] {
        let fault = Fault::once(error(name, None));
        let fault = fault.refresh_token(format!("1//planted-{project}"));
        world.google.fake().script(fault);
        visitor.press("refresh", project).await;
    }
    let reason = "This service has been disabled in this account";
    super::attacks::report_outcome(&page, "p3", Outcome::Suspended, reason).await;
    let told = visitor.look("/").await;
    let row = |project: &str| {
        let (_, row) = told
            .split_once(&format!("id=\"project-{project}\""))
            .unwrap_or_else(|| panic!("no {project}: {told}"));
        row.split_once("</tr>").unwrap().0
    };
    let client = world.project("p1").await.oauth_client_id;
    let put = format!("antigravity-gateway oauth-clients put {client} --secret-file FILE");
    assert!(row("p1").contains(&put), "{}", row("p1"));
    assert!(!row("p1").contains("tried again by itself"));
    assert!(row("p2").contains("antigravity-gateway login --id p2"));
    assert!(row("p3").contains("Appeal to Google"), "{}", row("p3"));
    assert!(row("p3").contains(reason), "{}", row("p3"));
    for project in ["p1", "p2", "p3"] {
        for words in ["--id ID", "UpdateProject", ".;", "; appeal to Google"] {
            assert!(!row(project).contains(words), "{}", row(project));
        }
    }
}

#[tokio::test]
async fn while_the_token_service_is_away_the_gateways_own_figures_are_told() {
    let mut page = Page::start(Setup::default()).await;
    for _ in 0..6 {
        assert_eq!(page.world.chat(&hello()).await.status, 200);
    }
    let (cookie, csrf) = {
        let visitor = page.sign_in().await;
        visitor.look_until("6 in 24 h").await;
        (visitor.cookie, visitor.csrf)
    };
    page.world.stop_tokens().await;
    assert_eq!(page.world.chat(&hello()).await.status, 200);
    let visitor = super::Visitor {
        page: &page,
        cookie,
        csrf,
    };
    let told = visitor
        .look_until("The token-service does not answer")
        .await;
    assert!(
        told.contains("This gateway goes on with the 3 access tokens in hand"),
        "{told}"
    );
    let address = page.world.token_address().to_string();
    assert!(within(&told, "verdict").len() > 10 && told.contains(&address));
    assert_eq!(within(&told, "sum-requests"), "7 since its start");
    assert_eq!(
        told.matches("Not known while the token-service does not answer")
            .count(),
        2
    );
    assert!(!told.contains("id=\"project-p1\""), "{told}");
    // A button of a page that was shown before, and somebody new.
    visitor.press("disable", "p1").await;
    let told = visitor.look("/").await;
    assert!(
        within(&told, "notice").starts_with("Cannot disable p1: the token-service does not answer")
    );
    let answer = page.try_token(super::ADMIN_TOKEN).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None));
    assert!(
        answer.body.contains("cannot be checked now"),
        "{}",
        answer.body
    );

    let (cookie, csrf) = (visitor.cookie, visitor.csrf);
    page.world.restart_tokens().await;
    let visitor = super::Visitor {
        page: &page,
        cookie,
        csrf,
    };
    visitor.look_until("id=\"project-p1\"").await;
    // The looks said nothing about what requests need.
    assert_eq!(page.world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn an_empty_pool_says_what_to_do() {
    let page = Page::start(Setup::projects(&[])).await;
    let visitor = page.sign_in().await;
    let told = visitor.look("/").await;
    assert!(told.contains("There is no project yet"), "{told}");
    assert!(told.contains("antigravity-gateway login"), "{told}");
    assert_eq!(told.matches("Nothing yet").count(), 7, "{told}");
}

#[tokio::test]
async fn a_token_service_that_is_silent_keeps_nobody_waiting_for_long() {
    let mut page = Page::start(Setup::default()).await;
    let (cookie, csrf) = {
        let visitor = page.sign_in().await;
        (visitor.cookie, visitor.csrf)
    };
    let silent = page.silence_tokens().await;
    page.world.clock.advance(std::time::Duration::from_secs(2));
    let visitor = super::Visitor {
        page: &page,
        cookie,
        csrf,
    };
    let began = std::time::Instant::now();
    // All who look wait for one answer.
    let looks = (0..10).map(|_| visitor.look("/"));
    for told in futures_util::future::join_all(looks).await {
        assert!(told.contains("The token-service does not answer"), "{told}");
        assert!(told.contains("it took too long"), "{told}");
    }
    let took = began.elapsed();
    assert!(took.as_secs() < 12, "{took:?}");
    drop(silent);
}
