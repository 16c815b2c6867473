//! Connections to Google: no stream waits for another, and a connection that dies takes
//! only its own along.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fake_google::{Action, Config as GoogleConfig, Fault, HoldPoint};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::{API_KEY, Answer, MODEL, Setup, World, hello, with};

const PING: Duration = Duration::from_secs(2);
const PONG: Duration = Duration::from_secs(2);
/// Much longer than anything takes that waits for nobody.
const SOON: Duration = Duration::from_secs(30);

/// A stream whose first event has come.
struct Stream {
    response: reqwest::Response,
    said: Vec<u8>,
    /// From the request to the first event.
    took: Duration,
}

impl Stream {
    async fn begin(world: &World) -> Self {
        let began = Instant::now();
        let mut response = world
            .client
            .post(world.url(0, "/v1/chat/completions"))
            .bearer_auth(API_KEY)
            .body(streamed().to_string())
            .send()
            .await
            .unwrap();
        let first = response.chunk().await.unwrap().unwrap();
        Self {
            response,
            said: first.to_vec(),
            took: began.elapsed(),
        }
    }

    async fn rest(mut self) -> Answer {
        while let Some(more) = self.response.chunk().await.unwrap() {
            self.said.extend_from_slice(&more);
        }
        Answer {
            status: self.response.status().as_u16(),
            headers: self.response.headers().clone(),
            body: String::from_utf8(self.said).unwrap(),
        }
    }
}

fn streamed() -> Value {
    with(hello(), "stream", json!(true))
}

fn every_quarter_second() -> Fault {
    Fault::always(Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 0,
        before_first_event_ms: 0,
        between_events_ms: 250,
    })
}

/// Waits for so many streams' first events, all of them open.
async fn begin(world: &World, streams: usize) -> Vec<Stream> {
    let streams = (0..streams).map(|_| Stream::begin(world));
    timeout(SOON, join_all(streams)).await.unwrap()
}

#[tokio::test]
async fn three_hundred_streams_wait_for_nobody_where_a_connection_takes_a_hundred() {
    let world = Setup::default().start().await;
    let fake = world.google.fake();
    fake.script(Fault::always(Action::Hold {
        gate: "all".to_owned(),
        point: HoldPoint::BeforeHeaders,
    }));
    let body = streamed();
    let whole = join_all((0..300).map(|_| world.chat(&body)));
    let all_there = async {
        timeout(SOON, fake.reached("all", 300)).await.unwrap();
        fake.clear_script();
        fake.release("all");
    };
    let (answers, ()) = tokio::join!(whole, all_there);
    for answer in answers {
        assert!(answer.chunks().1, "{}", answer.body);
    }
    // None of them ends here, and each has begun.
    fake.script(Fault::always(Action::Stall { after_events: 1 }));
    let streams = begin(&world, 300).await;
    assert_eq!(fake.counters().in_flight, 300);
    drop(streams);
}

/// Between the gateway and Google: passes bytes on, until it is told to swallow what one
/// connection has to say, both ways.
struct Wire {
    address: SocketAddr,
    links: Arc<Mutex<Vec<Arc<Link>>>>,
}

#[derive(Default)]
struct Link {
    passed: AtomicUsize,
    broken: CancellationToken,
}

impl Wire {
    async fn to(google: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let links = Arc::<Mutex<Vec<Arc<Link>>>>::default();
        let all = Arc::clone(&links);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(google).await.unwrap();
                let link = Arc::<Link>::default();
                all.lock().await.push(Arc::clone(&link));
                tokio::spawn(async move { link.carry(near, far).await });
            }
        });
        Self { address, links }
    }

    /// Of the connections that carry something, the one that carries the least: the others
    /// are full.
    async fn with_room(&self) -> Arc<Link> {
        let links = self.links.lock().await.clone();
        let passed = |link: &Arc<Link>| link.passed.load(Ordering::Relaxed);
        let before: Vec<usize> = links.iter().map(passed).collect();
        sleep(Duration::from_secs(1)).await;
        let lately = |at: &usize| passed(&links[*at]) - before[*at];
        let carries = (0..links.len()).filter(|at| lately(at) > 10_000);
        let at = carries.min_by_key(lately).unwrap();
        Arc::clone(&links[at])
    }
}

impl Link {
    async fn carry(&self, near: TcpStream, far: TcpStream) {
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (mut from_near, mut to_near) = near.into_split();
        let (mut from_far, mut to_far) = far.into_split();
        tokio::select! {
            () = self.pass(&mut from_near, &mut to_far) => {}
            () = self.pass(&mut from_far, &mut to_near) => {}
            // Nobody is told; both ends stay open.
            () = self.broken.cancelled() => std::future::pending().await,
        }
    }

    async fn pass(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            self.passed.fetch_add(count, Ordering::Relaxed);
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_takes_only_its_own_streams_along() {
    let setup = Setup {
        gateways: 0,
        google: GoogleConfig {
            text_chunks: 30,
            ..GoogleConfig::default()
        },
        ..Setup::default()
    };
    let mut world = setup.start().await;
    let text = "One sentence after the other. ".repeat(30);
    let fake = Arc::clone(world.google.fake());
    fake.script(Fault::always(Action::Text { text: text.clone() }));
    fake.script(every_quarter_second());
    let wire = Wire::to(world.google.address()).await;
    let through = format!("https://localhost:{}", wire.address.port());
    world.set("ANTIGRAVITY_BASE_URLS", through);
    let shorter = |config: &mut gateway::config::Config| {
        config.timeouts.ping = PING;
        config.timeouts.pong = PONG;
    };
    world.add_gateway_with(shorter).await;

    let streams = begin(&world, 200).await;
    let link = wire.with_room().await;
    let broken = Instant::now();
    link.broken.cancel();
    let outcome = async {
        let mut whole = 0;
        let mut lost = Vec::new();
        for answer in join_all(streams.into_iter().map(Stream::rest)).await {
            match answer.chunks() {
                (_, true) => {
                    assert_eq!(answer.streamed(), text);
                    whole += 1;
                }
                (chunks, false) => lost.push(chunks.last().unwrap().clone()),
            }
        }
        (whole, lost)
    };
    let newcomers = join_all((0..20).map(|nth| {
        let world = &world;
        async move {
            sleep(Duration::from_millis(50) * nth).await;
            let at = broken.elapsed();
            let stream = Stream::begin(world).await;
            (at, stream.took, stream.rest().await)
        }
    }));
    let both = async { tokio::join!(outcome, newcomers) };
    let ((whole, lost), newcomers) = timeout(SOON, both).await.unwrap();
    assert_eq!(whole + lost.len(), 200);
    assert!((1..=80).contains(&lost.len()), "{} lost", lost.len());
    for last in lost {
        assert_eq!(last["error"]["code"], "upstream_unreachable", "{last}");
    }
    for (at, took, answer) in newcomers {
        assert_eq!(answer.streamed(), text);
        // By then its silence was noticed; who came before was asked for anew.
        if at > Duration::from_millis(500) {
            assert!(took < Duration::from_secs(1), "{took:?} after {at:?}");
        }
    }
}

/// A client that reads nothing of its answer.
async fn ask_and_read_nothing(world: &World, body: &Value) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = world.gateways[0].address;
    let mut stream = socket.connect(address).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn clients_that_do_not_read_take_no_window_from_others() {
    const LARGE: &str = "gemini-2.5-pro";
    let setup = Setup {
        google: GoogleConfig {
            text_chunks: 16,
            ..GoogleConfig::default()
        },
        ..Setup::default()
    };
    let world = setup.start().await;
    let fake = world.google.fake();
    let chunk = json!({"candidates": [
        {"content": {"role": "model", "parts": [{"text": "x".repeat(20_000)}]}}
    ]});
    let chunks = vec![chunk; 500];
    fake.script(Fault::always(Action::Answer { chunks }).model(LARGE));
    fake.script(every_quarter_second().model(MODEL));
    let text = "One sentence after the other. ".repeat(16);
    fake.script(Fault::always(Action::Text { text: text.clone() }));
    let other = Stream::begin(&world).await;
    let large = with(streamed(), "model", json!(LARGE));
    let lazy = join_all((0..12).map(|_| ask_and_read_nothing(&world, &large))).await;
    let answer = timeout(SOON, other.rest()).await.unwrap();
    assert_eq!(answer.streamed(), text);
    drop(lazy);
}

#[tokio::test]
async fn connections_that_google_ends_with_goaway_end_nobodys_stream() {
    let world = Setup::default().start().await;
    let fake = world.google.fake();
    fake.script(every_quarter_second());
    for _ in 0..3 {
        let others = begin(&world, 10).await;
        // Before the first event of this one, in the middle of the others.
        fake.script(Fault::once(Action::GoAway));
        let met = timeout(SOON, world.chat(&streamed())).await.unwrap();
        assert!(met.chunks().1, "{}", met.body);
        for other in others {
            let whole = timeout(SOON, other.rest()).await.unwrap();
            assert!(whole.chunks().1, "{}", whole.body);
        }
    }
    assert_eq!(fake.counters().faults_fired, 33 + 3);
}

#[tokio::test]
async fn a_stream_that_google_resets_takes_no_other_along() {
    let world = Setup::default().start().await;
    let fake = world.google.fake();
    fake.script(every_quarter_second());
    let others = begin(&world, 10).await;
    fake.script(Fault::once(Action::ResetStream { after_events: 2 }));
    let met = timeout(SOON, world.chat(&streamed())).await.unwrap();
    assert!(
        met.body.contains("\"error\"") && !met.body.contains("[DONE]"),
        "{}",
        met.body
    );
    for other in others {
        let whole = timeout(SOON, other.rest()).await.unwrap();
        assert!(whole.chunks().1, "{}", whole.body);
    }
}
