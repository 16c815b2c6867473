//! Signing in and out, and what there is without it.

use std::time::Duration;

use fake_google::{ErrorName, Fault};
use reqwest::header::HeaderMap;

use super::{ADMIN_TOKEN, Page, headers, within};
use crate::{
    certificates::Authority,
    support::{Setup, error, hello},
};

#[tokio::test]
async fn without_a_session_there_is_the_form_and_nothing_else() {
    let page = Page::start(Setup::default()).await;
    let world = &page.world;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::ValidationRequired, None)));
    world.chat(&hello()).await;
    let cookie = format!(
        "antigravity-status-{}",
        page.admin.rsplit(':').next().unwrap()
    );
    let none = HeaderMap::new;
    for (headers, path) in [
        (none(), "/"),
        (none(), "/?q=p1&show=need-you"),
        (headers(&[("cookie", &format!("{cookie}="))]), "/"),
        (
            headers(&[("cookie", &format!("other=1; {cookie}=made-up"))]),
            "/",
        ),
        (headers(&[("authorization", "Bearer wrong")]), "/"),
    ] {
        let answer = page.get(path, headers).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("name=\"token\""), "{}", answer.body);
        for told in ["p1", "p2", "in rotation", "gemini", "Version", "csrf"] {
            assert!(!answer.body.contains(told), "{told}: {}", answer.body);
        }
    }
    let back = page.get("/login", none()).await;
    assert_eq!((back.status, back.header("location")), (303, Some("./")));
    for path in ["/project", "/logout"] {
        let answer = page.get(path, none()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
    let fields = [("csrf", ""), ("action", "disable"), ("id", "p1")];
    let answer = page.post("/project", &fields, none()).await;
    assert_eq!(answer.status, 401);
    assert!(!world.project("p1").await.disabled);
    // What was there before is as it was.
    for path in ["/livez", "/readyz", "/health"] {
        let answer = page.get(path, none()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json"))
        );
    }
    let metrics = page.get("/metrics", none()).await;
    assert!(metrics.body.ends_with("# EOF\n"));
    let unknown = page.get("/nothing", none()).await;
    assert_eq!(unknown.json()["error"]["code"], "unknown_url");
    // Nobody's request, who looks at the page: the unknown path alone is a stranger's.
    let strangers = "antigravity_gateway_requests_without_key_total 1\n";
    for _ in 0..200 {
        if page.get("/metrics", none()).await.body.contains(strangers) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", page.get("/metrics", none()).await.body);
}

#[tokio::test]
async fn only_the_operators_token_opens_it() {
    let page = Page::start(Setup::default()).await;
    let wrong = page.try_token("planted-wrong").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("This is not the operators"));
    let gateways = page.try_token("planted-gateway-token").await;
    assert_eq!(gateways.status, 401);
    assert!(gateways.body.contains("GATEWAY_TOKEN"));
    let odd = page.try_token("line\nbreak\u{7f}ü").await;
    assert_eq!(odd.status, 401);
    assert_eq!(page.try_token(" ").await.status, 400);
    for answer in [&wrong, &gateways, &odd] {
        assert_eq!(answer.header("set-cookie"), None);
        assert!(!answer.body.contains("planted-"), "{}", answer.body);
    }

    let answer = page.try_token(&format!(" {ADMIN_TOKEN}\n")).await;
    assert_eq!(answer.status, 303);
    let cookie = answer.header("set-cookie").unwrap();
    let (id, attributes) = cookie.split_once("; ").unwrap();
    assert!(id.len() > 60 && !id.contains(ADMIN_TOKEN), "{cookie}");
    assert_eq!(
        attributes,
        "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    );
    // Behind a proxy that speaks TLS.
    let fields = [("token", ADMIN_TOKEN)];
    let behind = headers(&[("x-forwarded-proto", "https")]);
    let answer = page.post("/login", &fields, behind).await;
    assert!(
        answer
            .header("set-cookie")
            .unwrap()
            .ends_with("; SameSite=Strict; Secure")
    );
    let visitor = page.sign_in().await;
    let told = visitor.look("/").await;
    assert!(!told.contains("planted-"), "no secret of any kind");
    assert!(within(&told, "tile-in-rotation").contains("Projects"));
    // Each login is a session of its own, and ends by itself.
    let again = page.sign_in().await;
    assert_ne!(visitor.cookie, again.cookie);
    let fields = [("csrf", &*again.csrf)];
    let out = page.post("/logout", &fields, again.headers()).await;
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    let after = page.get("/", again.headers()).await;
    assert!(after.body.contains("Your session has ended"));
    visitor.look("/").await;
}

#[tokio::test]
async fn a_cookie_of_the_same_name_hides_no_session() {
    let page = Page::start(Setup::default()).await;
    let visitor = page.sign_in().await;
    let (name, _) = visitor.cookie.split_once('=').unwrap();
    for cookie in [
        format!("{name}=planted; {}", visitor.cookie),
        format!("{}; {name}=planted", visitor.cookie),
    ] {
        let answer = page.get("/", headers(&[("cookie", &cookie)])).await;
        assert!(answer.body.contains("id=\"verdict\""), "{}", answer.body);
    }
    // Nor does it keep it from ending.
    let cookie = format!("{name}=planted; {}", visitor.cookie);
    let fields = [("csrf", &*visitor.csrf)];
    let out = page.post("/logout", &fields, headers(&[("cookie", &cookie)]));
    assert_eq!(out.await.status, 303);
    let after = page.get("/", visitor.headers()).await;
    assert!(after.body.contains("Your session has ended"));
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.put(folder.path(), "server");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut page = Page::start(Setup {
        environment: vec![
            ("TLS_CERT_FILE", path("server.pem")),
            ("TLS_KEY_FILE", path("server.key")),
        ],
        ..Setup::default()
    })
    .await;
    let roots = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    page.client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([roots])
        .build()
        .unwrap();
    page.scheme = "https";
    let answer = page.try_token(ADMIN_TOKEN).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-antigravity-status-"), "{cookie}");
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    // Over HTTP/2, where the name stands elsewhere.
    let visitor = page.sign_in().await;
    let mut ours = visitor.headers();
    ours.extend(headers(&[("origin", &page.url(""))]));
    let fields = [
        ("csrf", &*visitor.csrf),
        ("action", "disable"),
        ("id", "p2"),
    ];
    assert_eq!(page.post("/project", &fields, ours).await.status, 303);
    assert!(page.world.project("p2").await.disabled);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_its_token_is_no_longer_taken() {
    let mut page = Page::start(Setup::default()).await;
    let cookie = {
        let visitor = page.sign_in().await;
        page.world.clock.advance(Duration::from_secs(59 * 60));
        visitor.look("/").await;
        page.world.clock.advance(Duration::from_secs(61 * 60));
        let answer = page.get("/", visitor.headers()).await;
        assert!(answer.body.contains("Your session has ended"));
        page.sign_in().await.cookie
    };
    page.world.stop_tokens().await;
    page.world
        .set("ADMIN_TOKEN", "planted-other-token".to_owned());
    page.world.restart_tokens().await;
    let mut told = String::new();
    for _ in 0..200 {
        page.world.clock.advance(Duration::from_secs(2));
        told = page.get("/", headers(&[("cookie", &cookie)])).await.body;
        if !told.contains("does not answer") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The one before may hold its database for a moment longer.
        if page.world.token_service.as_ref().unwrap().has_ended() {
            page.world.restart_tokens().await;
        }
    }
    assert!(told.contains("no longer takes the token"), "{told}");
    assert!(!told.contains("p1"), "{told}");
    assert_eq!(page.try_token(ADMIN_TOKEN).await.status, 401);
    assert_eq!(page.try_token("planted-other-token").await.status, 303);
}

#[tokio::test]
async fn sessions_are_bounded() {
    let page = Page::start(Setup::default()).await;
    let first = page.sign_in().await;
    for _ in 0..32 {
        page.world.clock.advance(Duration::from_secs(1));
        assert_eq!(page.try_token(ADMIN_TOKEN).await.status, 303);
    }
    let answer = page.get("/", first.headers()).await;
    assert!(answer.body.contains("Your session has ended"));
}

#[tokio::test]
async fn who_guesses_has_to_wait() {
    let page = Page::start(Setup::default()).await;
    // All at once are no more than one after the other.
    let tries = (0..20).map(|nth| {
        let page = &page;
        async move { page.try_token(&format!("guess-{nth}")).await }
    });
    let answers = futures_util::future::join_all(tries).await;
    let count = |status| answers.iter().filter(|a| a.status == status).count();
    // A sixth, where the machine took ten seconds for them.
    assert!((5..=6).contains(&count(401)), "{}", count(401));
    assert_eq!(count(401) + count(429), 20);
    let refused = page.try_token(ADMIN_TOKEN).await;
    assert_eq!(refused.status, 429, "not even the right one is looked at");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    page.world.clock.advance(Duration::from_secs(wait));
    assert_eq!(page.try_token(ADMIN_TOKEN).await.status, 303);
    // Who is signed in was not disturbed, and a right token costs no try.
    for _ in 0..10 {
        assert_eq!(page.try_token(ADMIN_TOKEN).await.status, 303);
    }
}

#[tokio::test]
async fn who_comes_while_the_token_service_is_silent_is_not_told_of_wrong_tokens() {
    let mut page = Page::start(Setup::default()).await;
    let _silent = page.silence_tokens().await;
    let tries = (0..7).map(|_| page.try_token(ADMIN_TOKEN));
    let answers = futures_util::future::join_all(tries).await;
    let count = |status| answers.iter().filter(|a| a.status == status).count();
    assert_eq!((count(503), count(429)), (5, 2));
    for answer in answers {
        assert!(!answer.body.contains("wrong"), "{}", answer.body);
        if answer.status == 429 {
            assert!(answer.body.contains("are being checked"), "{}", answer.body);
            assert!(answer.header("retry-after").is_some());
        }
    }
    // They cost nobody a try.
    assert_eq!(page.try_token(ADMIN_TOKEN).await.status, 503);
}

#[tokio::test]
async fn what_is_no_form_is_refused_whole() {
    let page = Page::start(Setup::default()).await;
    let post = |kind: &'static str, body: String| {
        let request = page.client.post(page.url("/login"));
        let request = request.header("content-type", kind).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        post("text/plain", format!("token={ADMIN_TOKEN}")).await,
        415
    );
    assert_eq!(post("application/json", "{}".to_owned()).await, 415);
    assert_eq!(post(form, "token=".repeat(10_000)).await, 413);
    assert_eq!(post(form, "%%%=&&&".to_owned()).await, 400);
    assert_eq!(post(form, String::new()).await, 400);
}
