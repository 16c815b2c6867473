//! A full house: the idle give way, the busy do not.

use std::time::{Duration, Instant};

use antigravity_runtime::listener::Limits;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use crate::support::{Server, get, rest, some};

fn room_for(connections: usize) -> Limits {
    Limits {
        connections,
        ..Limits::default()
    }
}

async fn is_served_at_once(server: &Server) {
    let began = Instant::now();
    let said = server.ask("/new").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn who_never_said_a_word_gives_way() {
    let server = Server::start(room_for(40)).await;
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..40 {
        silent.push(server.connect().await);
    }
    for _ in 0..20 {
        is_served_at_once(&server).await;
    }
    // The one that has waited longest.
    assert_eq!(rest(&mut silent[0]).await, "");
}

#[tokio::test]
async fn the_longest_idle_of_those_kept_alive_gives_way() {
    let server = Server::start(room_for(3)).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        assert!(get(&mut stream, "/first").await.starts_with("HTTP/1.1 200"));
        kept.push(stream);
        sleep(Duration::from_millis(20)).await;
    }
    // The first is the youngest now.
    assert!(
        get(&mut kept[0], "/again")
            .await
            .starts_with("HTTP/1.1 200")
    );
    is_served_at_once(&server).await;
    assert_eq!(rest(&mut kept[1]).await, "", "closed, with nothing said");
    for at in [0, 2] {
        let said = get(&mut kept[at], "/still").await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

#[tokio::test]
async fn what_has_begun_is_served() {
    let server = Server::start(room_for(2)).await;
    // One is being answered, the head of the other's next request is arriving.
    let mut answered = server.connect().await;
    answered
        .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut asking = server.connect().await;
    assert!(get(&mut asking, "/first").await.starts_with("HTTP/1.1 200"));
    asking
        .write_all(b"GET /second HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    let new = tokio::spawn({
        let address = server.address;
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            get(&mut stream, "/new").await
        }
    });
    sleep(Duration::from_millis(100)).await;
    asking.write_all(b" x\r\n\r\n").await.unwrap();
    let said = some(&mut asking).await;
    assert!(said.contains("GET /second"), "{said}");
    let said = some(&mut answered).await;
    assert!(said.contains("GET /slow"), "{said}");
    let said = new.await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn connections_of_http2_without_streams_give_way() {
    let server = Server::start(room_for(2)).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
        let task = tokio::spawn(connection);
        let request = http::Request::get(format!("http://{}/", server.address));
        let (answer, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        kept.push((client, task));
        sleep(Duration::from_millis(20)).await;
    }
    is_served_at_once(&server).await;
    let (client, task) = kept.remove(0);
    // Told to go, with all that it has asked answered.
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(client);
}

#[tokio::test]
async fn heads_that_dawdle_give_way_before_their_time() {
    let server = Server::start(room_for(8)).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    let said = server.ask("/new").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    let said = rest(&mut slow[0]).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test]
async fn heads_that_dawdle_give_way_before_those_who_were_just_answered() {
    let server = Server::start(room_for(4)).await;
    let mut kept = [server.connect().await, server.connect().await];
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    sleep(Duration::from_millis(700)).await;
    for stream in &mut kept {
        assert!(get(stream, "/first").await.starts_with("HTTP/1.1 200"));
    }
    let mut new = [server.connect().await, server.connect().await];
    for stream in new.iter_mut().chain(&mut kept) {
        let said = get(stream, "/then").await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
    for mut stream in slow {
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    }
}

#[tokio::test]
async fn nobody_is_kept_for_ever() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut kept = server.connect().await;
    assert!(get(&mut kept, "/").await.starts_with("HTTP/1.1 200"));
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://x/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let began = Instant::now();
    assert_eq!(rest(&mut kept).await, "");
    connection.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_drain_closes_the_idle_and_ends_what_runs() {
    let server = Server::start(Limits::default()).await;
    let mut idle = server.connect().await;
    assert!(get(&mut idle, "/").await.starts_with("HTTP/1.1 200"));
    let mut running = server.connect().await;
    running
        .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    server.shutdown.drain.cancel();
    let said = rest(&mut running).await;
    assert!(said.contains("GET /slow"), "{said}");
    assert_eq!(rest(&mut idle).await, "");
    drop((running, idle));
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_abort_ends_what_does_not_end_by_itself() {
    let server = Server::start(Limits::default()).await;
    let mut endless = server.connect().await;
    assert!(
        get(&mut endless, "/endless")
            .await
            .starts_with("HTTP/1.1 200")
    );
    server.shutdown.abort();
    let ended = tokio::time::timeout(Duration::from_secs(5), server.task).await;
    ended.unwrap().unwrap().unwrap();
}

/// Longer than a connection is idle before it keeps nothing but itself.
const A_WHILE: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn who_was_idle_for_a_while_is_served_as_before() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    for round in 0..3 {
        let request = format!("POST /{round} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = some(&mut stream).await;
        assert!(said.contains(&format!("POST /{round} body")), "{said}");
        if round < 2 {
            sleep(A_WHILE).await;
        }
    }
    // The beginning of the next head came with a request, and its end much later.
    stream
        .write_all(b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let said = some(&mut stream).await;
    assert!(
        said.contains("GET /one") && !said.contains("/two"),
        "{said}"
    );
    sleep(A_WHILE).await;
    stream.write_all(b"st: x\r\n\r\n").await.unwrap();
    let said = some(&mut stream).await;
    assert!(said.contains("GET /two"), "{said}");
    sleep(A_WHILE).await;
    server.shutdown.drain.cancel();
    assert_eq!(rest(&mut stream).await, "");
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_rest_of_a_body_that_nobody_read_is_no_request() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        .await
        .unwrap();
    let said = some(&mut stream).await;
    assert!(said.contains("unread"), "{said}");
    sleep(A_WHILE).await;
    // It may be closed already, and then this fails.
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let _ = stream.write_all(smuggled).await;
    let said = rest(&mut stream).await;
    assert!(!said.contains("/smuggled"), "{said}");
}
