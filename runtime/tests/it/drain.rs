//! A rollout: whoever has not heard yet that the process ends is served.

use std::{io::Write as _, time::Duration};

use antigravity_runtime::listener::Limits;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, Server, get, rest, some};

fn open_for(drain_delay: Duration) -> Limits {
    Limits {
        drain_delay,
        ..Limits::default()
    }
}

/// When new connections are refused.
async fn closed(server: &Server) {
    let refusing = async {
        while TcpStream::connect(server.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, refusing).await.unwrap();
}

#[tokio::test]
async fn who_connects_at_the_last_moment_is_served() {
    let server = Server::start(open_for(Duration::from_millis(300))).await;
    server.shutdown.drain.cancel();
    sleep(Duration::from_millis(100)).await;
    // The one thread is held, so that the delay ends and clients connect before the listener runs again.
    std::thread::sleep(Duration::from_millis(300));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        stream.set_nonblocking(true).unwrap();
        clients.push(TcpStream::from_std(stream).unwrap());
    }
    for client in &mut clients {
        let said = some(client).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said:?}");
    }
    drop(clients);
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_that_were_kept_outlive_the_listener_for_a_moment() {
    let server = Server::start(open_for(Duration::from_secs(1))).await;
    let mut kept = server.connect().await;
    assert!(get(&mut kept, "/").await.starts_with("HTTP/1.1 200"));
    server.shutdown.drain.cancel();
    closed(&server).await;
    // On its way when the delay was over.
    let said = get(&mut kept, "/late").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said:?}");
    assert_eq!(rest(&mut kept).await, "");
    server.task.await.unwrap().unwrap();
}

/// Reads a stream of the server that has begun, to the end of its last chunk.
async fn end_of_stream(stream: &mut TcpStream) {
    let mut said = String::new();
    while !said.ends_with("0\r\n\r\n") {
        let more = some(stream).await;
        assert!(!more.is_empty(), "closed in the middle: {said:?}");
        said.push_str(&more);
    }
}

#[tokio::test]
async fn who_has_read_a_stream_to_its_end_may_be_asking_again() {
    let server = Server::start(open_for(Duration::from_millis(200))).await;
    let (mut asks, mut leaves) = (server.connect().await, server.connect().await);
    for client in [&mut asks, &mut leaves] {
        // Nothing in its head tells that the connection is going to end.
        let head = get(client, "/stream").await;
        assert!(!head.contains("close"), "{head:?}");
    }
    server.shutdown.drain.cancel();
    closed(&server).await;
    end_of_stream(&mut asks).await;
    end_of_stream(&mut leaves).await;
    // As long as a request is on its way.
    sleep(Duration::from_millis(50)).await;
    let said = get(&mut asks, "/late").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said:?}");
    assert!(said.contains("connection: close"), "{said:?}");
    assert_eq!(rest(&mut asks).await, "");
    // Who says nothing more is not waited for.
    assert_eq!(rest(&mut leaves).await, "");
    let ended = timeout(Duration::from_millis(900), server.task).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn without_a_delay_nobody_is_waited_for() {
    let server = Server::start(open_for(Duration::ZERO)).await;
    let mut kept = server.connect().await;
    assert!(get(&mut kept, "/").await.starts_with("HTTP/1.1 200"));
    server.shutdown.drain.cancel();
    let ended = timeout(Duration::from_millis(900), server.task).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_of_http2_hears_it_with_its_next_answer() {
    let server = Server::start(open_for(PATIENCE)).await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |client: &mut h2::client::SendRequest<bytes::Bytes>, path: &str| {
        let request = http::Request::get(format!("http://x{path}"))
            .body(())
            .unwrap();
        client.send_request(request, true).unwrap().0
    };
    assert_eq!(ask(&mut client, "/").await.unwrap().status(), 200);
    let slow = ask(&mut client, "/slow");
    sleep(Duration::from_millis(100)).await;
    server.shutdown.drain.cancel();
    let late = ask(&mut client, "/late");
    assert_eq!(late.await.unwrap().status(), 200);
    assert_eq!(slow.await.unwrap().status(), 200);
    // GOAWAY, while the listener is open still.
    let ended = timeout(Duration::from_secs(3), connection).await;
    ended.unwrap().unwrap().unwrap();
    assert!(server.ask("/").await.starts_with("HTTP/1.1 200"));
    server.shutdown.abort();
    server.task.await.unwrap().unwrap();
}
