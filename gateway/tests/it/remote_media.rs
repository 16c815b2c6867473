//! Media by their addresses: fetched where the operator lets them be, from public
//! addresses alone, within limits.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Response, StatusCode, header},
    response::IntoResponse as _,
    routing::get,
};
use gateway::media::{Fetcher, Limits, Lookup, is_public, system_lookup};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use translate::chat::request::Wanted;

use crate::support::{MODEL, Setup, hello};

/// A server of pictures on this machine, and how often it was asked.
async fn pictures() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let typed = |kind: &'static str, body: Vec<u8>| {
        move || async move { ([(header::CONTENT_TYPE, kind)], body.clone()) }
    };
    let moved = |to: &'static str| {
        move || async move { (StatusCode::FOUND, [(header::LOCATION, to)]).into_response() }
    };
    let bare = || async { Response::new(Body::from("ABC")) };
    let endless = || async {
        let chunks =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 1 << 16]));
        (
            [(header::CONTENT_TYPE, "image/png")],
            Body::from_stream(chunks),
        )
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        ([(header::CONTENT_TYPE, "image/png")], "ABC")
    };
    let router = Router::new()
        .route("/a.png", get(typed("image/png; x=y", b"ABC".to_vec())))
        .route("/jpg", get(typed("image/jpg", b"DEF".to_vec())))
        .route("/page", get(typed("application/x-sh", b"ABC".to_vec())))
        .route("/empty", get(typed("image/png", Vec::new())))
        .route("/named.pdf", get(bare))
        .route(
            "/zipped",
            get(|| async {
                let headers = [
                    (header::CONTENT_TYPE, "image/png"),
                    (header::CONTENT_ENCODING, "gzip"),
                ];
                (headers, "ABC")
            }),
        )
        .route("/unnamed", get(bare))
        .route("/moved", get(moved("/a.png")))
        .route("/circle", get(moved("/circle")))
        .route("/file", get(moved("file:///etc/passwd")))
        .route("/mail", get(moved("http://8.8.8.8:25/")))
        .route(
            "/inside",
            get(moved("http://169.254.169.254/latest/meta-data")),
        )
        .route("/endless", get(endless))
        .route("/slow", get(slow))
        .layer(axum::middleware::from_fn(
            move |request, next: axum::middleware::Next| {
                counter.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            },
        ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

/// Lets this machine in, and nothing else that is not public.
fn loopback_too(address: IpAddr) -> bool {
    address.is_loopback() || is_public(address)
}

async fn fetched(fetcher: &Fetcher, url: String) -> Result<(String, String), String> {
    let wanted = [Wanted {
        url,
        path: "messages[0].content[0].image_url.url".to_owned(),
        times: 1,
    }];
    match fetcher.fetch(&wanted).await {
        Ok(mut all) => all
            .pop()
            .map(|one| (one.mime, one.data))
            .ok_or_else(String::new),
        Err(error) => {
            assert_eq!(error.param(), Some(&*wanted[0].path));
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn pictures_are_fetched_with_their_types() {
    let (base, _) = pictures().await;
    let fetcher = Fetcher::new(loopback_too, 1 << 20).unwrap();
    for (path, mime, data) in [
        ("/a.png", "image/png", "QUJD"),
        ("/jpg", "image/jpeg", "REVG"),
        ("/moved", "image/png", "QUJD"),
        ("/named.pdf?x=1", "application/pdf", "QUJD"),
    ] {
        let one = fetched(&fetcher, format!("{base}{path}")).await;
        assert_eq!(one, Ok((mime.to_owned(), data.to_owned())), "{path}");
    }
    let wanted: Vec<Wanted> = ["/a.png", "/jpg"]
        .iter()
        .map(|path| Wanted {
            url: format!("{base}{path}"),
            path: String::new(),
            times: 1,
        })
        .collect();
    let all = fetcher.fetch(&wanted).await.unwrap();
    let data: Vec<&str> = all.iter().map(|one| &*one.data).collect();
    assert_eq!(data, ["QUJD", "REVG"]);
}

#[tokio::test]
async fn what_is_no_picture_is_refused_with_its_reason() {
    let (base, _) = pictures().await;
    let fetcher = Fetcher::new(loopback_too, 1 << 20).unwrap();
    for (path, why) in [
        ("/page", "application/x-sh"),
        ("/empty", "empty"),
        ("/zipped", "compresses"),
        ("/unnamed", "does not say what it is"),
        ("/gone", "status 404"),
        ("/circle", "too often"),
        ("/file", "only http and https"),
        ("/mail", "port"),
        ("/inside", "not a public one"),
        ("/endless", "larger than"),
    ] {
        let told = fetched(&fetcher, format!("{base}{path}"))
            .await
            .unwrap_err();
        assert!(told.contains(why), "{path}: {told}");
    }
}

#[tokio::test]
async fn what_is_named_often_counts_as_often() {
    let (base, _) = pictures().await;
    let fetcher = Fetcher::new(loopback_too, 10).unwrap();
    for (times, fits) in [(3, true), (4, false), (usize::MAX, false)] {
        let wanted = [Wanted {
            url: format!("{base}/a.png"),
            path: String::new(),
            times,
        }];
        assert_eq!(fetcher.fetch(&wanted).await.is_ok(), fits, "{times}");
    }
}

#[tokio::test]
async fn nothing_but_public_addresses_is_reached() {
    let (base, asked) = pictures().await;
    let port = base.rsplit_once(':').unwrap().1;
    let fetcher = Fetcher::new(is_public, 1 << 20).unwrap();
    for url in [
        format!("{base}/a.png"),
        format!("http://localhost:{port}/a.png"),
        format!("http://LOCALHOST.:{port}/a.png"),
        format!("http://2130706433:{port}/a.png"),
        format!("http://0x7f.1:{port}/a.png"),
        format!("http://[::ffff:127.0.0.1]:{port}/a.png"),
        format!("http://0.0.0.0:{port}/a.png"),
        format!("http://user:pass@8.8.8.8:{port}/a.png"),
        "http://169.254.169.254/computeMetadata/v1/".to_owned(),
        "http:///a.png".to_owned(),
        "https://".to_owned(),
        "ftp://example.com/a.png".to_owned(),
    ] {
        assert!(fetched(&fetcher, url.clone()).await.is_err(), "{url}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// A network that has addresses of version 4 behind a prefix of its own.
fn network(asked: Arc<AtomicUsize>, prefix: &'static str, works: bool) -> Lookup {
    Arc::new(move |name| {
        let asked = Arc::clone(&asked);
        Box::pin(async move {
            let inside = match name.trim_end_matches('.') {
                "ipv4only.arpa" => {
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !works {
                        return Err(std::io::ErrorKind::TimedOut.into());
                    }
                    "192.0.0.170"
                }
                _ => "169.254.169.254",
            };
            Ok(vec![format!("{prefix}{inside}").parse().unwrap()])
        })
    })
}

#[tokio::test]
async fn addresses_behind_a_prefix_of_the_network_are_looked_at() {
    for (prefix, works) in [
        ("2001:470:64::", true),
        ("64:ff9b:1::", true),
        ("64:ff9b:1::", false),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let lookup = network(Arc::clone(&asked), prefix, works);
        let fetcher = Fetcher::within(Limits::of(1 << 20), is_public, lookup).unwrap();
        for url in [
            "http://metadata.example/a.png".to_owned(),
            format!("http://[{prefix}10.0.0.1]/a.png"),
        ] {
            let why = fetched(&fetcher, url.clone()).await.unwrap_err();
            assert!(why.contains("not a public one"), "{url}: {why}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "it is remembered");
    }
}

#[tokio::test]
async fn waiting_for_others_takes_no_time_from_a_fetch() {
    let (base, _) = pictures().await;
    let limits = Limits {
        timeout: Duration::from_millis(1150),
        at_once: 1,
        wait: Duration::from_millis(1100),
        ..Limits::of(1 << 20)
    };
    let fetcher = Fetcher::within(limits, loopback_too, system_lookup()).unwrap();
    let slow = |base: &str| fetched_or_busy(fetcher.clone(), format!("{base}/slow"));
    let (first, second, third) = tokio::join!(slow(&base), slow(&base), slow(&base));
    // Each takes 0.6 s: the second is through after 1.2 s, and the third waits too long.
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(third, Err((503, Some(Duration::from_secs(1)))));
}

async fn fetched_or_busy(fetcher: Fetcher, url: String) -> Result<(), (u16, Option<Duration>)> {
    let wanted = [Wanted {
        url,
        path: String::new(),
        times: 1,
    }];
    match fetcher.fetch(&wanted).await {
        Ok(_) => Ok(()),
        Err(error) => Err((error.status().as_u16(), error.retry_after())),
    }
}

fn picture(url: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]})
}

#[tokio::test]
async fn addresses_are_refused_unless_the_operator_lets_them_in() {
    let param = "messages[0].content[1].image_url.url";
    let (base, asked) = pictures().await;
    for (setting, why) in [
        ("false", "FETCH_REMOTE_MEDIA"),
        ("true", "not a public one"),
    ] {
        let world = Setup {
            environment: vec![("FETCH_REMOTE_MEDIA", setting.to_owned())],
            ..Setup::default()
        }
        .start()
        .await;
        let answer = world.chat(&picture(&format!("{base}/a.png"))).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert_eq!(world.asked("p1") + world.asked("p2") + world.asked("p3"), 0);
        let local = world.chat(&picture("file:///etc/passwd")).await;
        assert_eq!(local.status, 400, "{}", local.body);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_fetched_picture_reaches_google() {
    let (base, asked) = pictures().await;
    let admin = fake_google::unused_address().unwrap().to_string();
    let world = Setup {
        environment: vec![
            ("FETCH_REMOTE_MEDIA", "true".to_owned()),
            ("ADMIN_LISTEN", admin.clone()),
        ],
        media_guard: Some(loopback_too),
        ..Setup::default()
    }
    .start()
    .await;
    let answer = world.chat(&picture(&format!("{base}/moved"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let mut stream = picture(&format!("{base}/gone"));
    stream["stream"] = true.into();
    assert_eq!(world.chat(&stream).await.status, 400);
    // Both took time, also the one in vain; a request without media is not among them.
    assert_eq!(world.chat(&hello()).await.status, 200);
    let url = format!("http://{admin}/metrics");
    let text = world.client.get(url).send().await.unwrap().text().await;
    let text = text.unwrap();
    let line = "antigravity_gateway_overhead_seconds_count{part=\"media\"} 2\n";
    assert!(text.contains(line), "{text}");
}
